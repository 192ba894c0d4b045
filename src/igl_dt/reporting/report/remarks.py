"""What a reader should know before believing a result, or when looking for what went wrong."""

from collections.abc import Iterator
from typing import NamedTuple

from igl_dt.evaluation.pseudo_labels import CONFIDENT
from igl_dt.reporting.report.run import Run, name_briefly, name_network

SHARED_ERRORS = 0.1
"""From this share of pixels on that both teachers must label with the same wrong class, it is worth a remark."""
TOO_SURE = 0.1
"""Likewise of pixels that a teacher labels wrongly with confidence."""
ALIKE, UNLIKE = 0.98, 0.5
"""Shares of pixels that two teachers label alike, between which all is well."""
FALLING = 0.1
"""Share by which a loss on labels must have fallen from the last but one fifth of the steps to the last fifth."""
FALLEN = 0.02
"""Validation mIoU lost since the best validation."""


class Remark(NamedTuple):
    """Something that stands out."""

    title: str
    text: str


def find_remarks(run: Run) -> list[Remark]:
    """Look through a run for what explains a bad result or spoils a good one; the most important first.

    The bounds are rules of thumb [ours].
    """
    return [*_of_scores(run), *_of_labels(run), *_of_pseudo_labels(run), *_of_training(run), *_of_origin(run)]


def _of_scores(run: Run) -> Iterator[Remark]:
    student = run.metrics["student"]
    for network, scores in run.metrics.items():
        gap = 100 * (scores["miou"] - student["miou"])
        if gap <= 0 or network not in ("supervised", "swin_unet", "res_unet"):
            continue
        if network == "supervised":
            text = (
                f"The same network trained on the labels alone is {gap:.1f} points better: the unlabelled images did "
                "harm. Look at how good the pseudo-labels are, and at the weights of the losses."
            )
            yield Remark("The student is worse than without unlabelled images", text)
        else:
            text = f"It is {gap:.1f} points of mIoU behind {name_network(network)}, which taught it: train it longer?"
            yield Remark(f"The student is worse than {name_briefly(network)}", text)
    if failed := [name for name, iou in student["per_class"].items() if iou == 0]:
        text = f"Of the pixels of {_names(failed)} it gets none right."
        yield Remark("Classes that the student does not find", text)
    if run.measured == "val":
        text = (
            "There are no test images, so scores are of the validation images. Of weights that were chosen by "
            "validation they are too good."
        )
        yield Remark("Scores are not of test images", text)


def _of_labels(run: Run) -> Iterator[Remark]:
    if unseen := run.split_summary["classes_without_labels"]:
        yield Remark("Classes without a label", f"No labelled image shows {_names(unseen)}: they cannot be learned.")
    for use, given in run.split_summary["lists"].items():
        if others := given["not_comparable_with"]:
            text = f"Results are not comparable with those on {_names(others)}."
            yield Remark(f"The {use} list is not the only one of its size", text)


def _of_pseudo_labels(run: Run) -> Iterator[Remark]:
    history = run.histories["teachers"]
    shares = {name: history[name].dropna() for name in history.columns if name.startswith("pseudo_label_")}
    last = {name: float(values.iloc[-1]) for name, values in shares.items() if len(values)}
    accuracies = {name.partition(".")[2]: value for name, value in last.items() if "_accuracy." in name}
    agreement = last.get("pseudo_label_agreement")
    if agreement is not None and accuracies and (shared := agreement - min(accuracies.values())) >= SHARED_ERRORS:
        text = (
            f"On at least {shared:.0%} of the pixels both give the same wrong label, which neither can correct in the "
            "other, and the student learns it from both."
        )
        yield Remark("The teachers share their errors", text)
    elif agreement is not None and agreement >= ALIKE:
        text = f"They label {agreement:.1%} of the pixels alike: from each other they can hardly learn more."
        yield Remark("The teachers agree nearly everywhere", text)
    if agreement is not None and agreement < UNLIKE:
        text = f"They label {agreement:.0%} of the pixels alike: what the student is told changes with its state."
        yield Remark("The teachers disagree", text)
    for network, accuracy in accuracies.items():
        if (wrong := last[f"pseudo_label_confident.{network}"] - accuracy) >= TOO_SURE:
            text = f"On at least {wrong:.0%} of the pixels it is wrong with a probability of {CONFIDENT:.0%} or more."
            yield Remark(f"{name_network(network)} is too sure", text)


def _of_training(run: Run) -> Iterator[Remark]:
    for stage, history in run.histories.items():
        for column in history.columns:
            values = history[column].dropna()
            network, _, loss = column.rpartition(".")
            fifth = len(values) // 5
            if loss == "supervised" and network != "learning_rate" and fifth >= 2:
                before, now = float(values.iloc[-2 * fifth : -fifth].mean()), float(values.iloc[-fifth:].mean())
                if now < (1 - FALLING) * before:
                    fall = 1 - now / before
                    text = f"In the last fifth of the steps its loss on labels fell by {fall:.0%}: more steps may help."
                    yield Remark(f"{name_network(network or stage)} was still learning", text)
            elif network == "val_miou" and len(values) and (lost := values.max() - values.iloc[-1]) >= FALLEN:
                best = int(history["step"].iloc[int(history[column].argmax())])
                text = f"Its validation mIoU is {100 * lost:.1f} points below that after step {best}."
                yield Remark(f"{name_network(loss)} was better before", text)


def _of_origin(run: Run) -> Iterator[Remark]:
    commits = {record.get("commit") for record in run.manifest.values()}
    if len(commits) > 1:
        yield Remark("Stages are of different code", "They were run from different commits: see the stages below.")
    if dirty := [stage for stage, record in run.manifest.items() if record.get("dirty")]:
        text = (
            f"When {_names(dirty)} ran, files differed from the commit: from the commit alone it cannot be done again."
        )
        yield Remark("The code was not committed", text)
    digests: dict[str, set[str]] = {}
    for record in run.manifest.values():
        for path, digest in record.get("sha256", {}).items():
            digests.setdefault(path, set()).add(digest)
    if changed := sorted(path for path, found in digests.items() if len(found) > 1):
        text = f"Not all stages saw the same content of {_names(changed)}: run the later ones again."
        yield Remark("Results of different runs are mixed", text)
    for stage, record in run.manifest.items():
        if stage != "reporting" and record.get("unfinished"):
            yield Remark(f"The last run of {stage} did not end", "What is shown of it may be of an earlier one.")


def _names(names: list[str], most: int = 8) -> str:
    shown = names if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} more"]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
