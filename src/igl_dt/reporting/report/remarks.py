"""What a reader should know before trusting a result, or when looking for what went wrong."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from igl_dt.reporting.figures.history import PSEUDO_LABEL, loss_columns
from igl_dt.reporting.networks import BASELINE, is_teacher, label, last_weights
from igl_dt.reporting.report.run import Run
from igl_dt.runtime.parameters import CONFIDENT

SHARED_ERRORS = 0.1
"""Share of pixels that all networks label with the same wrong class, from which on it is worth a remark."""
TOO_SURE = 0.1
"""Likewise for pixels that a network labels wrongly with confidence."""
ALIKE, UNLIKE = 0.98, 0.5
"""Agreement of the networks above or below which it is worth a remark."""
FALLING = 0.1
"""Relative fall of the supervised loss from the last but one fifth of the steps to the last fifth."""
FALLEN = 0.02
"""Validation mIoU lost since the best validation."""


class Remark(NamedTuple):
    """Something noteworthy about a run."""

    title: str
    text: str


def find_remarks(run: Run) -> list[Remark]:
    """Find what explains a bad result or casts doubt on a good one; the most important first.

    The thresholds are rules of thumb [ours].
    """
    return [*_of_scores(run), *_of_labels(run), *_of_pseudo_labels(run), *_of_training(run), *_of_origin(run)]


def _of_scores(run: Run) -> Iterator[Remark]:
    main = run.metrics[run.main]
    role = label(run.main).lower()
    for network in last_weights(run.metrics):
        gap = 100 * (run.metrics[network]["miou"] - main["miou"])
        if gap <= 0:
            continue
        if network == BASELINE:
            text = (
                f"Trained on the labels alone, the network scores {gap:.1f} points higher. A small difference may be "
                "chance: try other seeds. If they agree, predict with reference/supervised.safetensors, or check the "
                "quality of the pseudo-labels and the weights of the losses."
            )
            yield Remark(f"The {role} is worse than without unlabelled images", text)
        else:
            text = f"It is {gap:.1f} points of mIoU behind {run.label(network)}."
            text += " It learns from that network: train it longer?" if network in run.teachers else ""
            yield Remark(f"The {role} is worse than the {label(network).lower()}", text)
    if failed := [name for name, iou in main["per_class"].items() if iou == 0]:
        yield Remark(f"Classes that the {role} does not find", f"None of the pixels of {_names(failed)} are correct.")
    if run.evaluated == "val":
        text = (
            "There are no test images, so all scores are of the validation images. For weights that were selected by "
            "validation they are too optimistic."
        )
        yield Remark("Scores are not of test images", text)


def _of_labels(run: Run) -> Iterator[Remark]:
    if unseen := run.split_summary["classes_without_labels"]:
        yield Remark("Classes without a label", f"No labelled image contains {_names(unseen)}: they cannot be learned.")
    for use, given in run.split_summary["lists"].items():
        if others := given["not_comparable_with"]:
            text = f"Results are not comparable with those on {_names(others)}."
            yield Remark(f"The {use} list is not the only one of its size", text)


def _of_pseudo_labels(run: Run) -> Iterator[Remark]:
    for history in run.histories.values():
        shares = {name: history[name].dropna() for name in history.columns if name.startswith(PSEUDO_LABEL)}
        last = {name: float(values.iloc[-1]) for name, values in shares.items() if len(values)}
        yield from _of_shares(run, last)


def _of_shares(run: Run, last: Mapping[str, float]) -> Iterator[Remark]:
    accuracies = {name.partition(".")[2]: value for name, value in last.items() if "_accuracy." in name}
    labelers = [name.partition(".")[2] for name in last if "." in name]
    who = "The teachers" if all(map(is_teacher, labelers)) else "The networks"
    agreement = last.get(f"{PSEUDO_LABEL}agreement")
    if agreement is not None and accuracies and (shared := agreement - min(accuracies.values())) >= SHARED_ERRORS:
        text = (
            f"On at least {shared:.0%} of the pixels all of them predict the same wrong class, which none can correct "
            "in the others, and whatever learns from them learns it too."
        )
        yield Remark(f"{who} share their errors", text)
    elif agreement is not None and agreement >= ALIKE:
        text = f"They label {agreement:.1%} of the pixels alike: they can hardly learn more from each other."
        yield Remark(f"{who} agree nearly everywhere", text)
    if agreement is not None and agreement < UNLIKE:
        text = f"They label only {agreement:.0%} of the pixels alike: they give contradictory targets."
        yield Remark(f"{who} disagree", text)
    for network, accuracy in accuracies.items():
        if (wrong := last[f"{PSEUDO_LABEL}confident.{network}"] - accuracy) >= TOO_SURE:
            text = f"On at least {wrong:.0%} of the pixels it is wrong with a probability of {CONFIDENT:.0%} or more."
            yield Remark(f"{run.label(network)} is overconfident", text)


def _of_training(run: Run) -> Iterator[Remark]:
    for training, history in run.histories.items():
        for column, (network, loss) in loss_columns(history, training).items():
            values = history[column].dropna()
            fifth = len(values) // 5
            if loss == "supervised" and fifth >= 2:
                before, now = float(values.iloc[-2 * fifth : -fifth].mean()), float(values.iloc[-fifth:].mean())
                if now < (1 - FALLING) * before:
                    fall = 1 - now / before
                    text = (
                        f"In the last fifth of the steps its supervised loss fell by {fall:.0%}: more steps may help."
                    )
                    yield Remark(f"{run.label(network)} was still learning", text)
        for column in history.columns:
            kind, _, network = column.partition(".")
            values = history[column].dropna()
            if kind == "val_miou" and len(values) and (lost := values.max() - values.iloc[-1]) >= FALLEN:
                best = int(history["step"].iloc[int(history[column].argmax())])
                text = f"Its final validation mIoU is {100 * lost:.1f} points below that after step {best}."
                yield Remark(f"{run.label(network)} was better before", text)


def _of_origin(run: Run) -> Iterator[Remark]:
    commits = {record.get("commit") for record in run.run_manifest.values()}
    if len(commits) > 1:
        yield Remark("Stages ran with different code", "They were run from different commits: see the stages below.")
    if dirty := [stage for stage, record in run.run_manifest.items() if record.get("dirty")]:
        text = f"{_names(dirty)} ran with uncommitted changes: the commit alone does not reproduce the results."
        yield Remark("The code was not committed", text)
    digests: dict[str, set[str]] = {}
    for record in run.run_manifest.values():
        for path, digest in record.get("sha256", {}).items():
            digests.setdefault(path, set()).add(digest)
    if changed := sorted(path for path, found in digests.items() if len(found) > 1):
        text = f"Not all stages saw the same content of {_names(changed)}: rerun the later ones."
        yield Remark("Results of different runs are mixed", text)
    for stage, record in run.run_manifest.items():
        if stage != "reporting" and record.get("unfinished"):
            yield Remark(f"The last run of {stage} did not finish", "Its results shown here may be of an earlier run.")


def _names(names: list[str], most: int = 8) -> str:
    shown = names if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} more"]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
