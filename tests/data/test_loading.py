"""A batch is a function of the seed, the stream and the step, and of nothing else."""

import subprocess
import traceback
from collections import Counter
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from encoding import truncated_exif
from igl_dt.data.datasets import DataError
from igl_dt.data.loading import Batch, ImageReader, TrainingBatches
from igl_dt.data.manifest import read_manifest
from igl_dt.data.parameters import AugmentationParameters, DatasetParameters, SplittingParameters
from igl_dt.data.splits import split_labels


def make_reader(root: Path, image_size: tuple[int, int] | None = None, cache_mib: int = 1) -> ImageReader:
    return ImageReader(DatasetParameters(source="camvid", root=str(root), image_size=image_size), cache_mib)


def make_batches(
    reader: ImageReader,
    labeled: pd.DataFrame,
    unlabeled: pd.DataFrame | None,
    *,
    steps: int = 4,
    batch_size: int = 3,
    seed: int = 0,
    stream: str = "stage",
    strong_views: int = 1,
    **augmentation: object,
) -> TrainingBatches:
    changes = {"crop_size": (16, 20), "strong_unlabeled": True} | augmentation
    return TrainingBatches(
        reader,
        labeled,
        unlabeled,
        AugmentationParameters(**changes),
        steps=steps,
        batch_size=batch_size,
        seed=seed,
        stream=stream,
        strong_views=strong_views,
    )


@pytest.fixture(scope="module")
def parts(unspoilt: Path):
    manifest = read_manifest(DatasetParameters(source="camvid", root=str(unspoilt)))
    return split_labels(manifest.samples, manifest.class_pixels, SplittingParameters(labeled_fraction=0.4), seed=0)


@pytest.fixture(scope="module")
def make(unspoilt: Path, parts):
    """Make the training batches of the unspoilt folder."""

    def make(alone: bool = False, reader: ImageReader | None = None, **options):
        return make_batches(
            reader or make_reader(unspoilt), parts.labeled, None if alone else parts.unlabeled, **options
        )

    return make


def assert_same(one: Batch, other: Batch) -> None:
    for name, first, second in zip(Batch._fields, one, other, strict=True):
        firsts, seconds = (x if isinstance(x, tuple | list) else (x,) for x in (first, second))
        for one_tensor, other_tensor in zip(firsts, seconds, strict=True):
            assert (one_tensor is None) == (other_tensor is None), name
            assert one_tensor is None or torch.equal(one_tensor, other_tensor), name


def test_a_batch_has_the_promised_shapes_and_types(make) -> None:
    batch = make()[0]
    (strong,), (cutmix,) = batch.strong, batch.cutmix
    for samples in (batch.images, batch.weak, strong):
        assert samples.shape == (3, 3, 16, 20)
        assert samples.dtype == torch.uint8
        assert samples.is_contiguous()
    assert batch.masks.shape == (3, 16, 20)
    assert batch.masks.dtype == torch.uint8
    assert set(batch.masks.unique().tolist()) <= {0, 1, 2, 255}
    assert batch.padding.shape == cutmix.shape == (3, 16, 20)
    assert batch.padding.dtype == cutmix.dtype == torch.bool
    assert not torch.equal(batch.weak, strong)
    assert batch.images_weak is None
    assert len(make(steps=7)) == 7


def test_what_is_not_asked_for_is_absent(make) -> None:
    batch = make(strong_unlabeled=False, cutmix_probability=0)[0]
    assert batch.weak is not None
    assert batch.cutmix == ()
    assert batch.images_weak is None
    assert len(batch.strong) == 1 and torch.equal(batch.strong[0], batch.weak), "without photometry, it is the weak one"
    alone = make(alone=True)[0]
    assert alone.weak is None
    assert alone.padding is None
    assert alone.strong == ()
    assert alone.cutmix == ()


def test_a_batch_does_not_depend_on_those_before(make) -> None:
    batches, again = make(), make()
    in_order = [batches[step] for step in range(4)]
    for step in (2, 0, 3, 1, 2):
        assert_same(in_order[step], again[step])


def test_seed_stream_and_step_decide(unspoilt: Path, parts) -> None:
    """The crops as well as the order: there is only one image to choose."""

    def batch(step: int = 0, **options: object) -> Batch:
        one = parts.labeled.iloc[:1]
        return make_batches(make_reader(unspoilt), one, one, **options)[step]

    for other in (batch(seed=1), batch(stream="other"), batch(step=1)):
        for name in ("images", "masks", "weak"):
            assert not torch.equal(getattr(batch(), name), getattr(other, name)), name
        for name in ("strong", "cutmix"):
            assert not torch.equal(getattr(batch(), name)[0], getattr(other, name)[0]), name


def test_one_sample_in_two_slots_gives_two_crops(make, unspoilt: Path, parts) -> None:
    one = parts.labeled.iloc[:1]
    batch = make_batches(make_reader(unspoilt), one, one)[0]
    for samples in (batch.images, batch.weak):
        assert len({sample.numpy().tobytes() for sample in samples}) == 3
    assert not torch.equal(batch.images, batch.weak)


def test_the_number_of_steps_changes_no_batch(make) -> None:
    assert_same(make(steps=4)[2], make(steps=400)[2])


@pytest.mark.parametrize("options", [{}, {"strong_views": 2, "strong_labeled": True}, {"alone": True}])
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_change_nothing(make, workers: int, options: dict) -> None:
    expected = [make(**options)[step] for step in range(4)]
    loaded = list(make(**options).read(0, workers, pin_memory=False))
    assert len(loaded) == 4
    for one, other in zip(expected, loaded, strict=True):
        assert isinstance(other, Batch)
        assert_same(one, other)


def test_a_loader_may_start_later(make) -> None:
    batches = make()
    loaded = list(batches.read(2, 0, pin_memory=False))
    assert len(loaded) == 2
    assert_same(loaded[0], batches[2])


def test_the_cache_changes_nothing(make, unspoilt: Path) -> None:
    cached, direct = make(reader=make_reader(unspoilt, cache_mib=1)), make(reader=make_reader(unspoilt, cache_mib=0))
    for _ in range(2):
        for step in range(4):
            assert_same(cached[step], direct[step])


def test_the_cache_keeps_what_has_room_and_no_more(tmp_path: Path) -> None:
    names = [f"{index}.png" for index in range(3)]
    for name in names:
        Image.fromarray(np.zeros((400, 400, 3), np.uint8)).save(tmp_path / name)  # 0.46 MiB each
    reader = make_reader(tmp_path, cache_mib=1)
    for name in names:
        reader.image(name)
        (tmp_path / name).unlink()
    assert reader.image("0.png").shape == reader.image("1.png").shape == (400, 400, 3)
    with pytest.raises(DataError, match=r"2\.png is missing"):
        reader.image("2.png")


def test_labeled_crops_are_the_same_with_and_without_unlabeled(make) -> None:
    """So the reference sees what the student sees, and only the teachers and the unlabelled images differ."""
    for step in range(4):
        both, alone = make()[step], make(alone=True)[step]
        assert torch.equal(both.images, alone.images)
        assert torch.equal(both.masks, alone.masks)


def test_a_strong_view_of_labeled_images_keeps_the_geometry(make) -> None:
    weak, strong = make()[0], make(strong_labeled=True)[0]
    assert torch.equal(weak.masks, strong.masks)
    assert not torch.equal(weak.images, strong.images)
    assert torch.equal(weak.weak, strong.weak)


def test_the_weak_view_of_labeled_images_is_there_where_the_strong_one_is_seen(make) -> None:
    """Teachers label what has not been jittered."""
    weak, strong = make()[0], make(strong_labeled=True)[0]
    assert strong.images_weak is not None
    assert torch.equal(strong.images_weak, weak.images)
    assert strong.images_weak.dtype == torch.uint8
    assert not torch.equal(strong.images_weak, strong.images)


def test_class_crops_change_labelled_crops_alone(make) -> None:
    plain, some, all_ = (make(class_crop_probability=share, scale=(1.5, 2.0)) for share in (0, 0.5, 1))

    def changed(other: TrainingBatches) -> int:
        return sum((plain[step].images != other[step].images).flatten(1).any(dim=1).sum().item() for step in range(4))

    assert 0 < changed(some) < changed(all_)
    for step in range(4):
        one, other = plain[step], all_[step]
        assert_same(one._replace(images=other.images, masks=other.masks), other)


@pytest.mark.parametrize("step", [0, 3])
def test_further_strong_views_change_no_other_draw(make, step: int) -> None:
    one, three = make()[step], make(strong_views=3)[step]
    assert len(three.strong) == len(three.cutmix) == 3
    assert_same(one, three._replace(strong=three.strong[:1], cutmix=three.cutmix[:1]))
    assert_same(make(strong_views=2)[step], three._replace(strong=three.strong[:2], cutmix=three.cutmix[:2]))


def test_strong_views_differ_in_photometry_and_boxes(make) -> None:
    batch = make(strong_views=2, cutmix_probability=1)[0]
    (first, second), (boxes, other_boxes) = batch.strong, batch.cutmix
    for slot in range(len(first)):
        assert not torch.equal(first[slot], second[slot])
        assert not torch.equal(boxes[slot], other_boxes[slot])


def test_strong_views_without_photometry_are_the_weak_one_with_boxes_of_their_own(make) -> None:
    batch = make(strong_views=2, strong_unlabeled=False, cutmix_probability=1)[0]
    assert all(torch.equal(view, batch.weak) for view in batch.strong)
    assert len(batch.strong) == 2
    assert not torch.equal(*batch.cutmix)


def test_options_of_the_strong_view_leave_the_weak_one_alone(make) -> None:
    with_strong, without = make()[1], make(strong_unlabeled=False)[1]
    assert torch.equal(with_strong.weak, without.weak)
    assert torch.equal(with_strong.cutmix[0], without.cutmix[0])


@pytest.mark.parametrize(("count", "batch_size"), [(7, 3), (4, 4), (3, 5), (10, 1)])
def test_each_image_comes_once_per_epoch_in_a_new_order(tmp_path: Path, count: int, batch_size: int) -> None:
    for index in range(count):
        Image.fromarray(np.full((8, 8, 3), 10 + index, np.uint8)).save(tmp_path / f"{index}.png")
        Image.fromarray(np.full((8, 8), index, np.uint8)).save(tmp_path / f"{index}_mask.png")
    names = [str(index) for index in range(count)]
    rows = pd.DataFrame({"id": names, "image": [f"{n}.png" for n in names], "mask": [f"{n}_mask.png" for n in names]})
    rows = rows.assign(height=8, width=8)
    epochs = 6
    steps = -(-epochs * count // batch_size)
    options = {"steps": steps, "batch_size": batch_size, "crop_size": (8, 8), "scale": (1.0, 1.5)}
    batches = make_batches(make_reader(tmp_path), rows, rows, **options)
    labeled = [int(mask[0, 0]) for step in range(steps) for mask in batches[step].masks]
    unlabeled = [int(view[0, 0, 0]) - 10 for step in range(steps) for view in batches[step].weak]
    assert labeled != unlabeled
    for seen in (labeled, unlabeled):
        orders = [tuple(seen[epoch * count : (epoch + 1) * count]) for epoch in range(epochs)]
        assert all(Counter(order) == Counter(range(count)) for order in orders)
        assert len(set(orders)) >= 3


def test_masks_of_unlabeled_images_are_never_read(folder: Path) -> None:
    manifest = read_manifest(DatasetParameters(source="camvid", root=str(folder)))
    parts = split_labels(manifest.samples, manifest.class_pixels, SplittingParameters(labeled_fraction=0.4), seed=0)
    batches = make_batches(make_reader(folder), parts.labeled, parts.unlabeled)
    expected = [batches[step] for step in range(4)]
    for id_ in parts.unlabeled["id"]:
        (folder / f"train/masks/{id_}.png").unlink()
    again = make_batches(make_reader(folder), parts.labeled, parts.unlabeled)
    for step in range(4):
        assert_same(expected[step], again[step])


def test_images_are_read_at_the_size_asked_for(unspoilt: Path, parts) -> None:
    row = parts.labeled.iloc[0]
    reader = make_reader(unspoilt, image_size=(10, 50))
    image, mask = reader.image(row["image"]), reader.mask(row["mask"])
    assert image.shape == (10, 50, 3)
    assert mask.shape == (10, 50)
    assert image.dtype == mask.dtype == np.uint8
    assert set(np.unique(mask)) <= {0, 1, 2, 255}  # nearest neighbour: no ids in between
    pairs = list(reader.pairs(parts.val))
    assert [tuple(image.shape) for image, _ in pairs] == [(3, 10, 50)] * 2
    untouched = make_reader(unspoilt)
    np.testing.assert_array_equal(
        untouched.mask(row["mask"]), make_reader(unspoilt, image_size=(24, 32)).mask(row["mask"])
    )


def test_nothing_outside_the_root_is_read(folder: Path) -> None:
    (folder / "train/images/train0.png").rename(folder.parent / "outside.png")
    (folder / "link.png").symlink_to(folder.parent / "outside.png")
    for path in (str(folder.parent / "outside.png"), "../outside.png", "link.png"):
        with pytest.raises(DataError, match=r"leads out of dataset\.root"):
            make_reader(folder).image(path)


def test_pairs_of_one_size_come_together(tmp_path: Path) -> None:
    sizes = [(4, 6), (8, 6), (4, 6), (8, 5)]
    for index, size in enumerate(sizes):
        Image.fromarray(np.full((*size, 3), index, np.uint8)).save(tmp_path / f"{index}.png")
        Image.fromarray(np.full(size, index, np.uint8)).save(tmp_path / f"{index}_mask.png")
    rows = pd.DataFrame(
        [(str(i), f"{i}.png", f"{i}_mask.png", *size) for i, size in enumerate(sizes)],
        columns=["id", "image", "mask", "height", "width"],
    )
    pairs = list(make_reader(tmp_path).pairs(rows))
    assert [int(mask[0, 0]) for _, mask in pairs] == [0, 2, 3, 1]
    for image, mask in pairs:
        assert image.dtype == mask.dtype == torch.uint8
        assert image.shape == (3, *mask.shape)
        assert (image == mask).all()


def test_a_batch_is_cut_into_equal_parts(make) -> None:
    batch = make(batch_size=6, strong_views=2, strong_labeled=True)[0]
    parts = list(batch.parts(3))
    assert [len(part.images) for part in parts] == [2, 2, 2]

    def joined(*values: object) -> object:
        return tuple(map(joined, *values)) if isinstance(values[0], tuple) else torch.cat(values)

    assert_same(Batch(*(joined(*values) for values in zip(*parts, strict=True))), batch)
    assert_same(next(batch.parts(1)), batch)
    assert [part.weak for part in make(batch_size=6, alone=True)[0].parts(2)] == [None, None]


def test_a_batch_moves_as_a_whole(make) -> None:
    moved = make(strong_views=2)[0].to(torch.device("meta"))
    assert moved.images_weak is None
    assert [len(moved.strong), len(moved.cutmix)] == [2, 2]
    tensors = [moved.images, moved.masks, moved.weak, moved.padding, *moved.strong, *moved.cutmix]
    assert all(tensor.device.type == "meta" for tensor in tensors)


def test_too_large_a_crop_or_no_images_are_errors(unspoilt: Path, parts) -> None:
    reader, none = make_reader(unspoilt), parts.labeled.iloc[:0]
    with pytest.raises(DataError, match=r"stage\.augmentation\.crop_size is 49×20 .* at most 48×64"):
        make_batches(reader, parts.labeled, None, crop_size=(49, 20))  # images are 24 high, scaled by at most 2
    with pytest.raises(DataError, match="at most 20×20"):
        make_batches(make_reader(unspoilt, (10, 10)), parts.labeled, None, crop_size=(21, 9))
    with pytest.raises(DataError, match="stage: there are no labelled images"):
        make_batches(reader, none, parts.unlabeled)
    with pytest.raises(DataError, match="stage: there are no unlabelled images"):
        make_batches(reader, parts.labeled, none)


def test_workers_outlive_signals_to_the_whole_group_and_end_with_the_loader(make) -> None:
    """As ``timeout`` and Slurm send them: the training then saves its state, for which it needs the step's batch."""
    others = set(active_children())
    batches = make(steps=12).read(0, 1, pin_memory=False)
    first = next(batches)
    (worker,) = set(active_children()) - others
    for signal in ("TERM", "INT"):
        subprocess.run(["kill", f"-{signal}", str(worker.pid)], check=True)
    assert len([first, *batches]) == 12
    batches.close()
    assert not set(active_children()) - others
    batches = make(steps=12).read(0, 1, pin_memory=False)
    next(batches)
    (worker,) = set(active_children()) - others
    worker.terminate()
    worker.join(10)
    assert worker.exitcode == 0, "what ends a loader whose worker does not end by itself"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_broke_since_it_was_checked_is_named(folder: Path, workers: int) -> None:
    manifest = read_manifest(DatasetParameters(source="camvid", root=str(folder)))
    train = manifest.samples[manifest.samples["split"] == "train"]
    for path in (folder / "train/images").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    batches = make_batches(make_reader(folder), train, None)
    with pytest.raises(DataError, match=r"train/images/train\d\.png cannot be read as an image") as raised:
        next(batches.read(0, workers, pin_memory=False))
    assert "Traceback" not in str(raised.value)
    traceback.clear_frames(raised.tb)  # they hold the loader, whose end takes seconds when it is collected as garbage


def test_what_pillow_warned_of_in_the_checks_is_not_said_again(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    (tmp_path / "odd.png").write_bytes(truncated_exif(np.zeros((4, 6, 3), np.uint8), "PNG"))
    assert make_reader(tmp_path).image("odd.png").shape == (4, 6, 3)
    assert not recwarn.list
