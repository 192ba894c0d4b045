"""The code that counts for a training is the code that it runs, whatever its comments."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import igl_dt

OUTSIDE_BASE = """
from igl_dt.methods.supervised import Supervised


class Base(Supervised):
    name = "base"
"""
OUTSIDE = """
from outside_base import Base

from igl_dt.losses.cutmix import cutmix


class Outside(Base):
    name = "outside"
"""
DIGESTS = """
import json, sys
from pathlib import Path

from igl_dt.methods.igl_dt import IglDt
from igl_dt.networks.architectures.deeplab_v3_plus import DeepLabV3Plus
from igl_dt.training.fingerprint import digest_of_code, sources_of_package
from igl_dt.utils.imports import import_graph
from outside import Outside


def digests():
    sources_of_package.cache_clear()  # else the code that was imported counts
    kinds = {"inside": (IglDt, DeepLabV3Plus), "outside": (Outside,)}
    return {name: digest_of_code(classes, "igl_dt.training.trainer") for name, classes in kinds.items()}


before, changed = digests(), {}
for change, (file, old, new) in json.loads(sys.argv[1]).items():
    path = Path(file)
    content = path.read_text() if path.exists() else None
    assert content is None or old in content, (file, old)
    path.write_text(new if content is None else content.replace(old, new) if old else content + new)
    if content is None:
        import_graph.cache_clear()  # the other changes are of no import
    after = digests()
    changed[change] = sorted(name for name in before if before[name] != after[name])
    path.unlink() if content is None else path.write_text(content)
assert digests() == before
print(json.dumps(changed))
"""
CODE = "\nSOMETHING = 1\n"
BOTH = ["inside", "outside"]
CHANGES = {
    "a comment": ("igl_dt/training/trainer.py", "", "\n# A comment.\n", []),
    "a docstring": ("igl_dt/training/trainer.py", "The training loop", "The loop", []),
    "layout": ("igl_dt/losses/common.py", "import torch\n", "import torch\n\n\n", []),
    "the loop": ("igl_dt/training/trainer.py", "", CODE, BOTH),
    "an imported module": ("igl_dt/losses/common.py", "EPSILON = 1e-6", "EPSILON = 1e-5", BOTH),
    "its own method": ("igl_dt/methods/igl_dt.py", "", CODE, ["inside"]),
    "another method": ("igl_dt/methods/cps.py", "", CODE, []),
    "a new method": ("igl_dt/methods/another.py", "", CODE, []),
    "its own architecture": ("igl_dt/networks/architectures/deeplab_v3_plus.py", "", CODE, ["inside"]),
    "another architecture": ("igl_dt/networks/architectures/swin_unet.py", "", CODE, []),
    "a method outside": ("outside.py", "", CODE, ["outside"]),
    "a comment outside": ("outside.py", "", "# A comment.\n", []),
    "the base of a method outside": ("outside_base.py", "", CODE, ["outside"]),
    "what the base of a method outside imports": ("igl_dt/methods/supervised.py", "", CODE, ["outside"]),
    "what a method outside imports": ("igl_dt/losses/cutmix.py", "", CODE, BOTH),
    "a preview": ("igl_dt/reporting/previews.py", "", CODE, []),
}


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Give, for each change of a copy of the package, the digests that it changes."""
    folder = tmp_path_factory.mktemp("code")
    package = Path(str(igl_dt.__file__)).parent
    shutil.copytree(package, folder / "igl_dt", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "outside.py").write_text(OUTSIDE)
    (folder / "outside_base.py").write_text(OUTSIDE_BASE)
    changes = json.dumps({name: change[:3] for name, change in CHANGES.items()})
    ran = subprocess.run(
        [sys.executable, "-c", DIGESTS, changes],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(folder)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize("change", CHANGES)
def test_code_counts_where_it_is_run(changed: dict[str, list[str]], change: str) -> None:
    assert changed[change] == CHANGES[change][3]
