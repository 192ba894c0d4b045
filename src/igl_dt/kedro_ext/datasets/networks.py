"""Networks as Kedro datasets: one weight file each, from which the network is rebuilt."""

import json
import shutil
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import JSONPreview

from igl_dt.pipelines import Network


class NetworkDataset(AbstractDataset[Network, Network | None]):
    """One network in a safetensors file; its configuration and class names are in the file's header.

    Args:
        filepath: of the file.
        optional: whether a missing file is loaded as None instead of being an error.
        metadata: for other tools, such as kedro-viz.
    """

    def __init__(self, filepath: str, optional: bool = False, metadata: dict[str, Any] | None = None) -> None:
        self._filepath, self._optional, self.metadata = Path(filepath), optional, metadata

    def load(self) -> Network | None:
        """Rebuild the network."""
        from igl_dt.networks.io import load_network

        if self._optional and not self._exists():
            return None
        return load_network(self._filepath)

    def save(self, data: Network) -> None:
        """Write the weights and the configuration."""
        from igl_dt.networks.io import save_network

        save_network(data, self._filepath)

    def preview(self) -> JSONPreview:
        """Summarize the network for kedro-viz."""
        from igl_dt.reporting.previews import network_summary

        return JSONPreview(json.dumps(network_summary(self._filepath)))

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


class NetworkFolderDataset(AbstractDataset[dict[str, Network], dict[str, Network]]):
    """Networks by name in a folder, one safetensors file each; the folder may be empty.

    Args:
        path: of the folder; what else is in it is removed on saving.
        metadata: for other tools, such as kedro-viz.
    """

    def __init__(self, path: str, metadata: dict[str, Any] | None = None) -> None:
        self._path, self.metadata = Path(path), metadata

    def load(self) -> dict[str, Network]:
        """Rebuild the networks, in the order of their names."""
        from igl_dt.networks.io import load_network

        return {path.stem: load_network(path) for path in sorted(self._path.glob("*.safetensors"))}

    def save(self, data: dict[str, Network]) -> None:
        """Write the networks, and nothing else, into the folder."""
        from igl_dt.networks.io import save_network

        shutil.rmtree(self._path, ignore_errors=True)
        self._path.mkdir(parents=True)
        for name, network in data.items():
            save_network(network, self._path / f"{name}.safetensors")

    def preview(self) -> JSONPreview:
        """Summarize the networks for kedro-viz."""
        from igl_dt.reporting.previews import network_summary

        paths = sorted(self._path.glob("*.safetensors"))
        return JSONPreview(json.dumps({path.stem: network_summary(path) for path in paths}))

    def _exists(self) -> bool:
        return self._path.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._path)}
