"""Networks travel through Kedro's catalog as weight files."""

from pathlib import Path

import pytest
import torch
from kedro.io import DataCatalog, DatasetError

from igl_dt.kedro_ext.datasets.networks import NetworkDataset, NetworkFolderDataset
from igl_dt.networks.base import SegmentationNetwork
from igl_dt.networks.parameters import NetworkChoice
from igl_dt.networks.registry import build_network

RESNET = {"name": "resnet18", "options": {"channels": [8, 8, 16, 16], "stem_type": "deep", "stem_width": 4}}


def make_network(channels: int = 8) -> SegmentationNetwork:
    parameters = {"encoder": RESNET, "decoder_channels": [channels]}
    return build_network(NetworkChoice(architecture="res_unet", res_unet=parameters), ("a", "b"))


def assert_same(one: SegmentationNetwork, other: SegmentationNetwork) -> None:
    assert one is not other
    assert one.configuration == other.configuration
    weights = one.state_dict()
    assert weights.keys() == other.state_dict().keys()
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in weights.items())


@pytest.fixture
def catalog(tmp_path: Path) -> DataCatalog:
    """As ``conf/base`` declares them."""
    return DataCatalog.from_config(
        {
            "teacher": {
                "type": "igl_dt.kedro_ext.datasets.networks.NetworkDataset",
                "filepath": str(tmp_path / "models" / "teacher.safetensors"),
                "metadata": {"kedro-viz": {"layer": "models"}},
            },
            "optional_teacher": {
                "type": "igl_dt.kedro_ext.datasets.networks.NetworkDataset",
                "filepath": str(tmp_path / "models" / "optional.safetensors"),
                "optional": True,
            },
            "references": {
                "type": "igl_dt.kedro_ext.datasets.networks.NetworkFolderDataset",
                "path": str(tmp_path / "models" / "references"),
                "metadata": {"kedro-viz": {"layer": "models"}},
            },
        }
    )


def test_a_network_comes_back_as_it_was(catalog: DataCatalog, tmp_path: Path) -> None:
    network = make_network()
    assert not catalog.exists("teacher")
    catalog.save("teacher", network)
    assert catalog.exists("teacher")
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["teacher.safetensors"]
    loaded = catalog.load("teacher")
    assert_same(loaded, network)
    assert not loaded.training


def test_a_network_that_is_not_there_is_a_dataset_error_with_its_path(catalog: DataCatalog) -> None:
    with pytest.raises(DatasetError, match=r"no weight file at .*teacher\.safetensors"):
        catalog.load("teacher")


def test_an_optional_network_that_is_not_there_is_none(catalog: DataCatalog, tmp_path: Path) -> None:
    assert not catalog.exists("optional_teacher")
    assert catalog.load("optional_teacher") is None
    network = make_network()
    catalog.save("optional_teacher", network)
    assert_same(catalog.load("optional_teacher"), network)
    (tmp_path / "models" / "optional.safetensors").write_bytes(b"cut")
    with pytest.raises(DatasetError, match=r"optional\.safetensors"):
        catalog.load("optional_teacher")


def test_a_folder_of_networks_comes_back_by_name(catalog: DataCatalog) -> None:
    networks = {"supervised_best": make_network(4), "supervised": make_network(8)}
    assert not catalog.exists("references")
    catalog.save("references", networks)
    assert catalog.exists("references")
    loaded = catalog.load("references")
    assert list(loaded) == ["supervised", "supervised_best"]
    for name, network in networks.items():
        assert_same(loaded[name], network)


def test_an_empty_folder_is_there_and_has_nothing_left_of_before(catalog: DataCatalog, tmp_path: Path) -> None:
    catalog.save("references", {"supervised": make_network()})
    catalog.save("references", {})
    assert catalog.exists("references")
    assert catalog.load("references") == {}
    assert not list((tmp_path / "models" / "references").iterdir())


def test_they_say_where_they_are_and_keep_their_metadata(catalog: DataCatalog, tmp_path: Path) -> None:
    teacher, references = catalog.get("teacher"), catalog.get("references")
    assert isinstance(teacher, NetworkDataset)
    assert isinstance(references, NetworkFolderDataset)
    assert teacher.metadata == references.metadata == {"kedro-viz": {"layer": "models"}}
    assert str(tmp_path / "models" / "teacher.safetensors") in str(teacher)
    assert str(tmp_path / "models" / "references") in str(references)
