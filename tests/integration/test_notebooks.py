"""The notebooks run from top to bottom on a run's results, change none of them, and show the right numbers."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

PROJECT = Path(__file__).parents[2]
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
KERNEL = "this_interpreter"


@pytest.fixture
def execute(full: Path, environment: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Run a notebook in a folder where the pipeline has run; Jupyter's files stay in a temporary folder."""
    spec = {"argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": KERNEL}
    (tmp_path / "data/kernels" / KERNEL).mkdir(parents=True)
    (tmp_path / "data/kernels" / KERNEL / "kernel.json").write_text(json.dumps(spec | {"language": "python"}))
    for variable in ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        folder = "data" if variable == "JUPYTER_DATA_DIR" else variable.lower()
        monkeypatch.setenv(variable, str(tmp_path / folder))

    def execute(name: str) -> NotebookNode:
        notebook = nbformat.read(PROJECT / "notebooks" / f"{name}.ipynb", as_version=4)
        choice = next(cell for cell in notebook.cells if cell.cell_type == "code")
        assert "PARAMETERS = {}" in choice.source
        choice.source = choice.source.replace("PARAMETERS = {}", 'PARAMETERS = {"runtime": {"threads": 1}}')
        client = NotebookClient(
            notebook, timeout=120, kernel_name=KERNEL, resources={"metadata": {"path": str(full)}}, ipython_hist_file=""
        )
        client.execute(env={**environment, "KEDRO_ENV": "smoke"})
        return notebook

    return execute


def output_of(notebook: NotebookNode, source: str, kind: str = "text/plain") -> str:
    """Return the output of the cell whose source contains some words."""
    (cell,) = (cell for cell in notebook.cells if cell.cell_type == "code" and source in cell.source)
    outputs = [output for output in cell.outputs if kind in output.get("data", {})]
    return outputs[-1]["data"][kind] if outputs else "".join(o.text for o in cell.outputs if o.output_type == "stream")


def figures(notebook: NotebookNode) -> int:
    return sum("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", ()))


def rows(table: str) -> dict[str, list[str]]:
    """Return the numbers of each row; of a table too wide for the page, its first part."""
    return {words[0]: words[1:] for words in map(str.split, reversed(table.splitlines())) if words}


def test_results_are_shown_as_they_are(full: Path, execute, outputs) -> None:
    before = outputs(full)
    notebook = execute("01_read_data_and_results")
    assert outputs(full) == before
    assert figures(notebook) == 5 + sum(name.endswith(".png") and "08_reporting" in name for name in before)
    metrics = json.loads(before["data/08_reporting/smoke/metrics.json"])
    table = rows(output_of(notebook, "shares = "))
    for name, scores in metrics.items():
        shown = [f"{100 * scores[key]:.2f}" for key in ("miou", "miou_present", "pixel_accuracy")]
        assert [f"{float(value):.2f}" for value in table[name][:3]] == shown, name
    summary = json.loads(before["data/05_model_input/smoke/split_summary.json"])
    printed = next(cell for cell in notebook.cells if "split_summary" in cell.source and cell.cell_type == "code")
    assert str(summary["images"]) in printed.outputs[0].text


def test_a_method_of_ones_own_is_trained_and_compared(full: Path, execute, outputs) -> None:
    before = outputs(full)
    notebook = execute("02_your_own_method")
    assert outputs(full) == before
    assert figures(notebook) == 1
    metrics = json.loads(before["data/08_reporting/smoke/metrics.json"])
    table = rows(output_of(notebook, "table = "))
    here, run = table["supervised"]
    assert here == run
    assert float(here) == pytest.approx(100 * metrics["supervised"]["miou"], abs=0.006)
    assert float(table["student"][1]) == pytest.approx(100 * metrics["student"]["miou"], abs=0.006)
    for name in ("mean_teacher", "mean_teacher_ema"):
        here, run = table[name]
        assert 0 <= float(here) <= 100
        assert run == "NaN"
    history = output_of(notebook, "result.history.tail()")
    assert "consistency" in history
    assert "val_miou.student_ema" in history


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_are_kept_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        assert not cell.metadata
    assert notebook.metadata.keys() == {"kernelspec", "language_info"}
    assert notebook.metadata.language_info == {"name": "python"}


def test_both_are_tested() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["01_read_data_and_results", "02_your_own_method"]
