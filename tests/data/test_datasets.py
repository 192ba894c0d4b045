"""A new data set is one file that nothing else names."""

import sys
from pathlib import Path

import pytest

from igl_dt.data import datasets
from igl_dt.data.datasets import DataError, MaskFormat, find_dataset, mask_format, open_dataset
from igl_dt.data.parameters import DatasetParameters
from igl_dt.utils import registry

NEW = """
from igl_dt.data.datasets import Listing, MaskFormat, SegmentationDataset

class OneFile(SegmentationDataset):
    name = "one_file"

    def list_samples(self) -> Listing:
        return Listing((), ("road", str(self.root)))

    def mask_format(self) -> MaskFormat:
        return MaskFormat(rest=1)
"""


def test_a_new_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one_file.py").write_text(NEW)
    monkeypatch.setattr(datasets, "__path__", [*datasets.__path__, str(tmp_path)])
    registry._find.cache_clear()
    try:
        parameters = DatasetParameters(source="one_file", root="x")
        assert open_dataset(parameters).list_samples().class_names == ("road", "x")
        assert mask_format(parameters) == MaskFormat(rest=1)
        assert not find_dataset("one_file").draws_itself
        with pytest.raises(DataError, match=r"^dataset\.options of the source one_file: x: unknown; there are none$"):
            open_dataset(parameters.model_copy(update={"options": {"x": 1}}))
    finally:
        registry._find.cache_clear()
        monkeypatch.delitem(sys.modules, "igl_dt.data.datasets.one_file")


@pytest.mark.parametrize("name", ["camvid", "cityscapes", "folder", "idd_lite", "pascal", "shapes"])
def test_those_there_are_have_a_name(name: str) -> None:
    assert find_dataset(name).name == name
    assert find_dataset(name).draws_itself == (name == "shapes")


def test_an_unknown_one_names_the_nearest_or_all() -> None:
    with pytest.raises(DataError, match=r"^unknown dataset\.source 'cityscape'; did you mean 'cityscapes'\?$"):
        find_dataset("cityscape")
    with pytest.raises(DataError, match=r"'xyz'; there are camvid, cityscapes, folder, idd_lite, pascal, shapes"):
        mask_format(DatasetParameters(source="xyz", root="x"))
