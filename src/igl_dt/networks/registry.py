"""Architectures by name, and networks built from them."""

from typing import Any

from pydantic import ValidationError

from igl_dt.networks import architectures
from igl_dt.networks.base import SegmentationNetwork
from igl_dt.networks.parameters import NetworkChoice, NetworkParameters
from igl_dt.utils.parameters import did_you_mean, explain
from igl_dt.utils.registry import find_classes


def find_architecture(name: str, key: str = "architecture") -> type[SegmentationNetwork]:
    """Give the class of an architecture: one of this project's, or of segmentation-models-pytorch's.

    Raises:
        ValueError: There is none of this name.
    """
    known = find_classes(architectures, SegmentationNetwork)  # type: ignore[type-abstract]
    if name not in known:
        from igl_dt.networks.smp import smp_architectures  # only now: its import takes a second

        known = known | smp_architectures()
    if name not in known:
        raise ValueError(f"{key}: there is no architecture {name!r}{did_you_mean(name, known)}")
    return known[name]


def network_parameters(choice: NetworkChoice, key: str = "network") -> NetworkParameters:
    """Give the validated parameters of the chosen architecture, without building it.

    Args:
        choice: The architecture and its section.
        key: Where ``choice`` comes from, for messages.

    Raises:
        ValueError: There is no such architecture, or its section has an unknown key or a wrong value.
    """
    kind = find_architecture(choice.architecture, f"{key}.architecture")
    try:
        return kind.parameters_type.model_validate(choice.section(choice.architecture))
    except ValidationError as error:
        where = f"{key}.{choice.architecture}"
        problems = "\n".join(f"{where}.{problem}" for problem in explain(error, kind.parameters_type))
        raise ValueError(problems) from error


def build_network(choice: NetworkChoice, class_names: tuple[str, ...], key: str = "network") -> SegmentationNetwork:
    """Build a network; random weights come from torch's global generator.

    With ``choice.init_from``, no backbone's pretrained weights are loaded: see ``igl_dt.networks.io.adopt_weights``.

    Args:
        choice: The architecture and its parameters.
        class_names: Names of the N classes, by index.
        key: Where ``choice`` comes from, for messages.

    Raises:
        ValueError: As ``network_parameters``; or the architecture rejects its parameters.
    """
    parameters = network_parameters(choice, key)
    if choice.init_from is not None:
        parameters = parameters.without_pretrained()
    kind: Any = find_architecture(choice.architecture)
    network: SegmentationNetwork = kind(parameters, class_names, f"{key}.{choice.architecture}")
    return network


def rebuild_network(configuration: dict[str, Any]) -> SegmentationNetwork:
    """Build a network from ``SegmentationNetwork.configuration``, with random weights.

    Raises:
        ValueError: The configuration is not that of a network, or the network rejects it.
    """
    try:
        name, parameters, class_names = (configuration[key] for key in ("architecture", "parameters", "class_names"))
        choice = NetworkChoice.model_validate({"architecture": name, name: parameters})
    except (KeyError, TypeError, ValidationError) as error:
        raise ValueError(f"not the configuration of a network: {configuration!r}") from error
    network = build_network(choice, tuple(class_names))
    if "mean" in configuration:
        network.normalise_with(tuple(configuration["mean"]), tuple(configuration["std"]))
    return network
