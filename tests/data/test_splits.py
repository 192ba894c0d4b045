"""The split is complete, the same for the same seed, covers rare classes, and hides the unlabelled masks."""

import hashlib
from pathlib import Path

import pandas as pd
import pytest
import yaml
from kedro.io import DataCatalog

from igl_dt.data.datasets import DataError
from igl_dt.data.lists import Partition, hash_ids
from igl_dt.data.manifest import read_manifest
from igl_dt.data.parameters import AugmentationParameters, DatasetParameters, SplittingParameters
from igl_dt.data.splits import Splits, check_trainable, choose_pseudo_label_probe, split_labels

CATALOG = Path(__file__).parents[2] / "conf/base/catalog_data_splitting.yml"


def make_tables(
    pixels: dict[str, list[int]] | int, without_mask: tuple[str, ...] = ()
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make a manifest of training images with these pixels of each class, and two of val and test each."""
    if isinstance(pixels, int):
        pixels = {f"{index:03d}": [1, 1] for index in range(pixels)}
    train = [(id_, "train", f"{id_}.png", None if id_ in without_mask else f"{id_}_mask.png") for id_ in pixels]
    others = [
        (f"{split}{i}", split, f"{split}{i}.png", f"{split}{i}_mask.png") for split in ("val", "test") for i in "ba"
    ]
    rows = pd.DataFrame(train + others, columns=["id", "split", "image", "mask"])
    rows = rows.assign(width=32, height=24, sha256=rows["id"])
    counts = {id_: count for id_, count in pixels.items() if id_ not in without_mask}
    classes = len(next(iter(pixels.values())))
    counts |= {row[0]: [1] * classes for row in others}
    table = pd.DataFrame.from_dict(counts, orient="index", columns=[f"class{i}" for i in range(classes)])
    return rows, table.rename_axis("id")


def split(tables: tuple[pd.DataFrame, pd.DataFrame], run_seed: int = 0, **parameters: object) -> Splits:
    return split_labels(*tables, SplittingParameters(**parameters), run_seed)


@pytest.mark.parametrize("fraction", [0.02, 0.125, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_parts_are_disjoint_complete_and_sorted(fraction: float, seed: int) -> None:
    tables = make_tables(50, without_mask=("003", "017"))
    parts = split(tables, seed, labeled_fraction=fraction)
    labeled, unlabeled = list(parts.labeled["id"]), list(parts.unlabeled["id"])
    assert len(labeled) == round(fraction * 48)
    assert not set(labeled) & set(unlabeled)
    assert sorted(labeled + unlabeled) == [f"{index:03d}" for index in range(50)]
    assert {"003", "017"} <= set(unlabeled)
    for part in parts[:4]:
        assert part["id"].is_monotonic_increasing
        assert list(part.index) == list(range(len(part)))
        assert list(part.columns) == list(tables[0].columns)
    assert list(parts.val["id"]) == ["vala", "valb"]
    assert list(parts.test["id"]) == ["testa", "testb"]
    assert parts.labeled["mask"].notna().all()
    assert parts.val["mask"].notna().all()


def test_unlabeled_images_have_no_masks() -> None:
    tables = make_tables(16)
    assert split(tables, labeled_fraction=0.25).unlabeled["mask"].isna().all()
    assert tables[0]["mask"].notna().all()  # the manifest is left alone


def test_the_seed_alone_decides() -> None:
    manifest, pixels = make_tables(64)
    shuffled = manifest.sample(frac=1, random_state=1), pixels.sample(frac=1, random_state=2)
    first, again = split((manifest, pixels), 3, labeled_fraction=0.25), split(shuffled, 3, labeled_fraction=0.25)
    for one, other in zip(first[:4], again[:4], strict=True):
        pd.testing.assert_frame_equal(one, other)
    assert first.summary == again.summary
    taken = {tuple(split((manifest, pixels), seed, labeled_fraction=0.25).labeled["id"]) for seed in range(10)}
    assert len(taken) == 10


def test_every_image_is_drawn_about_as_often() -> None:
    tables = make_tables(20)
    drawn = pd.concat([split(tables, seed, labeled_fraction=0.25).labeled["id"] for seed in range(100)])
    often = drawn.value_counts()
    assert len(often) == 20
    assert often.between(8, 45).all()


def test_rare_classes_get_in() -> None:
    pixels = {f"{index:03d}": [9, 9, 0, 0] for index in range(60)}
    pixels["041"] = [9, 0, 1, 0]  # the only ones with these classes
    pixels["007"] = [9, 0, 0, 1]
    for seed in range(10):
        parts = split(make_tables(pixels), seed, labeled_fraction=0.05)
        assert {"041", "007"} <= set(parts.labeled["id"])
        assert len(parts.labeled) == 3
        assert parts.summary["classes_without_labels"] == []


def test_a_class_that_does_not_fit_or_occur_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    pixels = {f"{index:03d}": [9, index == 3, index == 4, 0] for index in range(20)}
    parts = split(make_tables(pixels), labeled_fraction=0.05)
    without = parts.summary["classes_without_labels"]
    assert len(parts.labeled) == 1
    assert len(without) == 2
    assert "class3" in without
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [f"2 of 4 classes occur in no labelled image, so they cannot be learned: {', '.join(without)}"]


def test_without_such_a_class_there_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    split(make_tables(8), labeled_fraction=0.5)
    assert not caplog.records


@pytest.mark.parametrize(
    ("images", "fraction", "named"), [(7, 0.05, ["0.05", "7 training images", "0.14"]), (3, 0.1, ["at least 0.33"])]
)
def test_a_fraction_that_gives_no_image(images: int, fraction: float, named: list[str]) -> None:
    with pytest.raises(DataError, match=r"splitting\.labeled_fraction") as raised:
        split(make_tables(images), labeled_fraction=fraction)
    assert all(part in str(raised.value) for part in named)
    assert len(split(make_tables(images), labeled_fraction=1 / images).labeled) == 1


def test_no_masks_at_all() -> None:
    with pytest.raises(DataError, match=r"of 0 training images .* masks are needed in train"):
        split(make_tables(2, without_mask=("000", "001")), labeled_fraction=0.5)


class TestLists:
    @staticmethod
    def lists(folder: Path, **texts: str) -> dict[str, str]:
        for name, text in texts.items():
            (folder / f"{name}.txt").write_bytes(text.encode())
        return {f"{name}_list": str(folder / f"{name}.txt") for name in texts}

    def test_the_rest_is_unlabeled(self, tmp_path: Path) -> None:
        lists = self.lists(tmp_path, labeled="005\r\n\r\n  002 \r\n004")
        parts = split(make_tables(8), **lists)
        assert list(parts.labeled["id"]) == ["002", "004", "005"]
        assert list(parts.unlabeled["id"]) == ["000", "001", "003", "006", "007"]
        assert parts.unlabeled["mask"].isna().all()

    def test_two_lists_may_leave_images_out(self, tmp_path: Path) -> None:
        parts = split(make_tables(8), **self.lists(tmp_path, labeled="005", unlabeled="007\n001"))
        assert list(parts.labeled["id"]) == ["005"]
        assert list(parts.unlabeled["id"]) == ["001", "007"]

    def test_the_seed_does_not_matter(self, tmp_path: Path) -> None:
        lists = self.lists(tmp_path, labeled="005\n002")
        pd.testing.assert_frame_equal(split(make_tables(8), 0, **lists)[0], split(make_tables(8), 1, **lists)[0])

    @pytest.mark.parametrize(
        ("texts", "named"),
        [
            ({"labeled": "001\n09\n099"}, ["labeled.txt", "2 ids", "not training images", "09, 099"]),
            ({"labeled": "001\n002\n001"}, ["labeled.txt", "1 ids more than once", "001"]),
            ({"labeled": " \n"}, ["labeled.txt", "empty"]),
            ({"labeled": "006\n001"}, ["1 labelled images have no mask: 006"]),
            ({"labeled": "001\n002", "unlabeled": "002\n003"}, ["1 ids", "labeled.txt", "unlabeled.txt", "002"]),
            ({"labeled": "001", "unlabeled": "002\n02"}, ["unlabeled.txt", "1 ids", "02"]),
            ({"labeled": "001", "unlabeled": "002\n002"}, ["unlabeled.txt", "more than once", "002"]),
            ({"labeled": "001\nvala"}, ["labeled.txt", "1 ids of val or test images: vala (val)"]),
            ({"labeled": "001", "unlabeled": "testb"}, ["unlabeled.txt", "of val or test images: testb (test)"]),
            ({"labeled": "001", "unlabeled": "../002"}, ["unlabeled.txt", "paths out of dataset.root", "../002"]),
            (
                {
                    "labeled": "\n".join(f"{i:03d}" for i in range(6)),
                    "unlabeled": "\n".join(f"00{i}.png" for i in range(6)),
                },
                ["6 ids are in both", "000, 001, 002, 003, 004, … and 1 more"],
            ),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path: Path, texts: dict[str, str], named: list[str]) -> None:
        with pytest.raises(DataError) as raised:
            split(make_tables(8, without_mask=("006",)), **self.lists(tmp_path, **texts))
        assert all(part in str(raised.value) for part in named), raised.value

    def test_a_missing_list_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=rf"{tmp_path}/nowhere\.txt is missing"):
            split(make_tables(8), labeled_list=str(tmp_path / "nowhere.txt"))

    def test_many_wrong_ids_are_counted(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"names 30 ids .*: x00, x01, x02, x03, x04, … and 25 more"):
            split(make_tables(8), **self.lists(tmp_path, labeled="\n".join(f"x{i:02d}" for i in range(30))))


def test_the_summary_counts_and_identifies() -> None:
    pixels = {f"{index:03d}": [index, 0] for index in range(8)}
    parts = split(make_tables(pixels, without_mask=("005",)), labeled_fraction=0.5)
    summary = parts.summary
    assert summary["images"] == {"labeled": 4, "unlabeled": 4, "val": 2, "test": 2}
    assert summary["pixels_per_class"]["labeled"] == {"class0": sum(map(int, parts.labeled["id"])), "class1": 0}
    assert summary["pixels_per_class"]["val"] == {"class0": 2, "class1": 2}
    assert summary["classes_without_labels"] == ["class1"]
    text = "".join(f"{id_}\n" for id_ in parts.labeled["id"])  # what `sha256sum` says of a list with a final newline
    assert summary["sha256"]["labeled"] == hashlib.sha256(text.encode()).hexdigest()
    assert set(summary["sha256"]) == {"labeled", "unlabeled", "val", "test"}
    unknown = {"format": None, "file_sha256": None, "published": None, "not_comparable_with": []}
    assert summary["lists"] == dict.fromkeys(summary["sha256"], unknown)


@pytest.mark.parametrize(
    ("texts", "formats"),
    [
        ({"labeled": "001\n004"}, ["ids", None]),
        ({"labeled": "004.png 004_mask.png\n001.png 001_mask.png\n"}, ["UniMatch", None]),
        ({"labeled": "./004.png\r\n./001.png\r\n", "unlabeled": "002\n000\n003\n005"}, ["U2PL", "ids"]),
        ({"labeled": "# first\n001\n004.png\t004_mask.png"}, ["CPS+ids", None]),
    ],
)
def test_a_published_partition_is_recognised_in_any_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texts: dict[str, str], formats: list[str | None]
) -> None:
    partitions = {("001", "004"): "ours", ("001", "003"): "theirs", ("000", "002", "003", "005"): "rest"}
    digests = {hash_ids(ids): Partition(name, f"share of {len(ids)}") for ids, name in partitions.items()}
    monkeypatch.setattr("igl_dt.data.lists.published_partitions", lambda: digests)
    summary = split(make_tables(6), **TestLists.lists(tmp_path, **texts)).summary
    for name, kind, published, others in zip(
        ("labeled", "unlabeled"), formats, ("ours", "rest"), (["theirs"], []), strict=True
    ):
        digest = hashlib.sha256(texts[name].encode()).hexdigest() if name in texts else None
        expected = {"format": kind, "file_sha256": digest, "published": published, "not_comparable_with": others}
        assert summary["lists"][name] == expected


class TestLabelledPixels:
    @pytest.mark.parametrize("part", ["labeled", "val", "test"])
    def test_without_any_there_is_nothing_to_learn_or_evaluate(self, tmp_path: Path, part: str) -> None:
        tables = make_tables({"a": [0, 0], "b": [0, 0], "c": [1, 2]})
        (tmp_path / "list.txt").write_text("a\nb\n" if part == "labeled" else "c")
        ids = {"labeled": ["a", "b"], "val": ["vala", "valb"], "test": ["testa", "testb"]}[part]
        tables[1].loc[ids] = 0
        with pytest.raises(
            DataError, match=rf"^no labelled pixel: in the masks of all 2 {part[:5]}.* {', '.join(ids)}$"
        ):
            split(tables, labeled_list=str(tmp_path / "list.txt"))

    def test_images_without_one_are_named_once(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        tables = make_tables({"a": [0, 0], "b": [0, 0], "c": [1, 2]})
        tables[1].loc["valb"] = 0
        (tmp_path / "list.txt").write_text("b\nc")
        split(tables, labeled_list=str(tmp_path / "list.txt"))
        assert [record.getMessage() for record in caplog.records] == [
            "1 labelled images have no labelled pixel: b",
            "1 val images have no labelled pixel: valb",
        ]


def test_the_draw_may_have_a_seed_of_its_own() -> None:
    tables = make_tables(40)
    drawn = {seed: list(split(tables, seed, labeled_fraction=0.2).labeled["id"]) for seed in (0, 1)}
    assert drawn[0] != drawn[1]
    for seed in (0, 1):
        assert list(split(tables, seed, labeled_fraction=0.2, seed=1).labeled["id"]) == drawn[1]


def test_monitored_images_are_unlabelled_ones_with_a_truth_where_there_is_any() -> None:
    without = tuple(f"{index:03d}" for index in range(0, 40, 2))
    tables = make_tables(40, without_mask=without)
    parts = split(tables, labeled_fraction=0.2)
    few, more = (choose_pseudo_label_probe(tables[0], parts.unlabeled, count) for count in (5, 9))
    assert len(few) == 5
    assert set(few["id"]) < set(more["id"]) <= set(parts.unlabeled["id"])
    assert few["mask"].notna().all()
    assert few["id"].is_monotonic_increasing
    assert len(choose_pseudo_label_probe(tables[0], parts.unlabeled, 99)) == 16
    assert choose_pseudo_label_probe(tables[0], parts.unlabeled, 0).empty
    blind = parts.unlabeled[parts.unlabeled["id"].isin(without)]
    assert choose_pseudo_label_probe(tables[0], blind, 3)["mask"].isna().all()


def test_splits_a_folder(unspoilt: Path) -> None:
    manifest = read_manifest(DatasetParameters(source="camvid", root=str(unspoilt)))
    parts = split_labels(manifest.samples, manifest.class_pixels, SplittingParameters(labeled_fraction=0.25), seed=0)
    assert "train5" in list(parts.labeled["id"])
    assert len(parts.labeled) == 2
    assert len(parts.unlabeled) == 6
    assert parts.summary["classes_without_labels"] == []


AWKWARD_IDS = ["0001", "1e5", "NA", "None", "a,b", "nan", "null", "true", 'with "quotes"', "ü"]


def test_ids_and_missing_masks_survive_the_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text stays text in CSV files as ``conf/`` describes them; only a mask may be missing."""
    tables = make_tables({id_: [1, 2] for id_ in AWKWARD_IDS}, without_mask=("NA",))
    parts = split(tables, labeled_fraction=0.4)
    entries = yaml.safe_load(CATALOG.read_text("utf-8").replace("${runtime_params:run,${globals:run}}", "test"))
    monkeypatch.chdir(tmp_path)
    catalog = DataCatalog.from_config({name: entry for name, entry in entries.items() if name[0] != "_"})
    saved = {"manifest": tables[0], **parts._asdict(), "class_pixels": tables[1].reset_index()}
    saved["split_summary"] = saved.pop("summary")
    for name, data in saved.items():
        catalog.save(name, data)
    for name, data in saved.items():
        loaded = catalog.load(name)
        if isinstance(data, pd.DataFrame):
            assert list(loaded.columns) == list(data.columns)
            for column in data.columns:
                expected = data[column].astype(object).where(data[column].notna(), None)
                found = loaded[column].astype(object).where(loaded[column].notna(), None)
                assert found.tolist() == expected.tolist(), (name, column)
        else:
            assert loaded == data
    again = split((catalog.load("manifest"), catalog.load("class_pixels").set_index("id")), labeled_fraction=0.4)
    assert again.summary == parts.summary
    written = Path("data/05_model_input/test/labeled.csv").read_bytes()
    assert b"\r" not in written
    assert written.endswith(b"\n")


class TestCheckTrainable:
    augmentation = AugmentationParameters(crop_size=(48, 64), scale=(0.5, 2.0))
    labeled = pd.DataFrame({"height": [24, 10], "width": [10, 32]})

    @staticmethod
    def check(crop: tuple[int, int], image_size: tuple[int, int] | None = None, **sizes: int) -> None:
        augmentation = AugmentationParameters(crop_size=crop, scale=(0.5, 2.0))
        dataset = DatasetParameters(root="x", image_size=image_size, **sizes)
        check_trainable(TestCheckTrainable.labeled, None, dataset, augmentation, "student_learning")

    def test_a_crop_may_be_as_large_as_the_largest_scaled_image(self) -> None:
        self.check((48, 64))
        self.check((20, 30), image_size=(10, 15))
        self.check((48, 64), short_side=10)
        self.check((40, 62), long_side=31)

    @pytest.mark.parametrize(
        ("crop", "image_size", "named"),
        [
            ((49, 64), None, ["49×64", "24×32", "2.0", "at most 48×64"]),
            ((48, 65), None, ["48×65"]),
            ((48, 64), (10, 15), ["10×15", "at most 20×30"]),
        ],
    )
    def test_a_larger_one_is_an_error(self, crop, image_size, named) -> None:
        with pytest.raises(DataError, match=r"student_learning\.augmentation\.crop_size") as raised:
            self.check(crop, image_size)
        assert all(part in str(raised.value) for part in named)

    def test_there_must_be_images(self) -> None:
        none = self.labeled.iloc[:0]
        with pytest.raises(DataError, match="teacher_pretraining: there are no labelled images"):
            check_trainable(none, self.labeled, DatasetParameters(root="x"), self.augmentation, "teacher_pretraining")
        with pytest.raises(DataError, match=r"no unlabelled images.*splitting\.labeled_fraction below 1"):
            check_trainable(self.labeled, none, DatasetParameters(root="x"), self.augmentation, "teacher_pretraining")


def test_counts_are_plain_numbers() -> None:
    """JSON takes no NumPy numbers."""
    summary = split(make_tables(8), labeled_fraction=0.5).summary
    counts = [count for per_class in summary["pixels_per_class"].values() for count in per_class.values()]
    assert {type(count) for count in counts} == {int}
