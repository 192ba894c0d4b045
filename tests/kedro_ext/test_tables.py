"""Tables that the next run reads again."""

from pathlib import Path

import pandas as pd
import pytest

from igl_dt.kedro_ext.datasets.tables import RecordDataset


def test_a_record_is_written_whole_or_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "folder/results.csv"
    record = RecordDataset(filepath=str(file), save_args={"index": False, "lineterminator": "\n"})
    record.save(pd.DataFrame({"miou": [0.5]}))
    assert file.read_text("utf-8") == "miou\n0.5\n"
    monkeypatch.setattr(Path, "replace", lambda *arguments: (_ for _ in ()).throw(OSError("killed")))
    with pytest.raises(Exception, match="killed"):
        record.save(pd.DataFrame({"miou": [0.5, 0.6]}))
    assert [path.name for path in file.parent.iterdir()] == ["results.csv"]
    assert record.load()["miou"].tolist() == [0.5]
