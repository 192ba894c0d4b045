"""A short portable run gives the committed tensors and confusion matrices, on any x86 processor with AVX2.

After a change that is meant to change results, from the project's folder::

    python tests/integration/test_portable_digests.py

writes ``portable_digests.json`` again. What is hashed are tensors and counts: headers and formats of files may change.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

from igl_dt.runtime.determinism import instruction_sets

PROJECT = Path(__file__).parents[2]
DIGESTS = Path(__file__).with_name("portable_digests.json")
PIPELINES = "data_splitting,teacher_pretraining,student_learning,evaluation"
COMMAND = ("kedro", "run", "--env=smoke", f"--pipelines={PIPELINES}", "--params=runtime.threads=1")
REGENERATE = "python tests/integration/test_portable_digests.py"


def digests_of(root: Path) -> dict[str, str]:
    """Hash each network's tensors and each confusion matrix that a run has left."""
    found = {}
    weights = root / "data/06_models/smoke"
    for path in sorted(weights.rglob("*.safetensors")):
        content = hashlib.sha256()
        for name, tensor in sorted(load_file(path).items()):
            content.update(f"{name} {tensor.dtype.str} {tensor.shape} ".encode() + tensor.tobytes())
        found[path.relative_to(weights).with_suffix("").as_posix()] = content.hexdigest()
    for path in sorted((root / "data/07_model_output/smoke/confusion").glob("*.csv")):
        table = pd.read_csv(path, index_col=0)
        found[f"confusion/{path.stem}"] = hashlib.sha256(json.dumps(table.to_numpy().tolist()).encode()).hexdigest()
    return found


@pytest.mark.skipif("avx2" not in instruction_sets(), reason="portable results need an x86 processor with AVX2")
@pytest.mark.skipif(not DIGESTS.is_file(), reason=f"there are no digests yet: {REGENERATE}")
def test_a_portable_run_gives_the_committed_tensors(full: Path) -> None:
    record = json.loads((full / "data/08_reporting/smoke/run_manifest.json").read_text("utf-8"))
    assert record["student_learning"]["parameters"]["runtime"]["portable"] is True
    committed, found = json.loads(DIGESTS.read_text("utf-8")), digests_of(full)
    assert found.keys() == committed.keys()
    different = [name for name in committed if found[name] != committed[name]]
    assert different == [], f"{instruction_sets()}; if the change is meant: {REGENERATE}"


def test_digests_are_of_tensors_and_counts_and_not_of_headers(tmp_path: Path) -> None:

    weights, confusion = tmp_path / "data/06_models/smoke/other", tmp_path / "data/07_model_output/smoke/confusion"
    for folder in (weights, confusion):
        folder.mkdir(parents=True)
    found = []
    for metadata, value in (("a", 1), ("b", 1), ("b", 2)):
        save_file({"x": np.full(3, value, np.float32)}, weights / "n.safetensors", metadata={"fingerprint": metadata})
        (confusion / "n.csv").write_text(f"truth,{metadata}\n{metadata},{value}\n")
        found.append(digests_of(tmp_path))
    assert found[0].keys() == {"other/n", "confusion/n"}
    assert found[0] == found[1]
    assert all(found[1][name] != found[2][name] for name in found[1])


def main() -> None:
    """Write the digests of this working tree again."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("conf", "src"):
            shutil.copytree(PROJECT / name, Path(folder) / name, ignore=shutil.ignore_patterns("local", "__pycache__"))
        (Path(folder) / "conf/local").mkdir()
        shutil.copy(PROJECT / "pyproject.toml", folder)
        environment = os.environ | {"PYTHONPATH": f"{folder}/src", "KEDRO_DISABLE_TELEMETRY": "1"}
        subprocess.run([sys.executable, "-m", *COMMAND], cwd=folder, env=environment, check=True)
        DIGESTS.write_text(json.dumps(digests_of(Path(folder)), indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
