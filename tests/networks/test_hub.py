"""Weights from a hub, by HTTP: what a user with an empty cache gets."""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import timm
from safetensors.torch import save

from igl_dt.networks.base import SegmentationNetwork
from igl_dt.networks.io import HUB_FILE, save_network

CONFIG = b'{"architecture": "test_resnet", "pretrained_cfg": {"mean": [7]}}'
LOAD = """
from igl_dt.networks.encoder import build_encoder
from igl_dt.networks.io import load_network, weight_file
from igl_dt.networks.parameters import EncoderParameters

for _ in range(2):
    network = load_network(weight_file("hf-hub:someone/network", "prediction.weights"))
encoder = build_encoder(EncoderParameters(name="test_resnet", pretrained="hf-hub:someone/backbone"))
print(network.name, network.class_names, encoder.pretrained_cfg["mean"])
"""


class Hub(BaseHTTPRequestHandler):
    """Answers as the hub does, as far as its client asks."""

    files: dict[str, bytes]
    asked: list[tuple[str, str]]

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self.wfile.write(self._answer())

    def _answer(self) -> bytes:
        self.asked.append((self.command, self.path))
        content = self.files.get(self.path, b"")
        self.send_response(200 if self.path in self.files else 404)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        return content

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint(network: SegmentationNetwork, tmp_path: Path) -> Iterator[str]:
    save_network(network, tmp_path / HUB_FILE)
    Hub.asked = []
    Hub.files = {
        f"/someone/network/resolve/main/{HUB_FILE}": (tmp_path / HUB_FILE).read_bytes(),
        "/someone/backbone/resolve/main/config.json": CONFIG,
        f"/someone/backbone/resolve/main/{HUB_FILE}": save(timm.create_model("test_resnet").state_dict()),
    }
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("variant", ["res_unet"], indirect=True)
def test_weights_are_downloaded_once(endpoint: str, network: SegmentationNetwork, tmp_path: Path) -> None:
    environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "cache"), "NO_PROXY": "127.0.0.1"}
    environment.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run([sys.executable, "-c", LOAD], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == f"{network.name} {network.class_names} [7]\n", done.stderr
    downloads = [path for command, path in Hub.asked if command == "GET" and path.startswith("/someone/")]
    assert sorted(downloads) == sorted(Hub.files)
