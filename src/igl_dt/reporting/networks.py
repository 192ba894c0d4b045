"""How networks are named, coloured and ordered wherever a reader meets them: in figures, tables and the report.

Networks are known by their role in the run, such as ``global_teacher`` or ``student``; a role that is not listed here
gets a name derived from it, and one of the remaining colours.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

NetworksInfo = Mapping[str, Mapping[str, Any]]
"""By network: ``architecture``, ``trained_by`` (the method's name), ``fingerprint`` and ``compute`` (see
``SegmentationNetwork.compute``); each may be missing or None."""

MAIN = "student"
"""Role that a run is about."""
BASELINE = "supervised"
"""Role of the network trained on the labels alone."""
BEST = "_best"
"""Ending of a network with the weights of its best validation."""

Line = Literal["-", "--", "-.", ":"]


class Style(NamedTuple):
    """How a network is drawn, in every figure."""

    label: str
    color: str
    marker: str
    line: Line


# Colours of Okabe and Ito; markers and dashes differ too.
_KNOWN: Mapping[str, tuple[str, str, Line]] = {
    "global_teacher": ("#0072b2", "s", "-"),
    "local_teacher": ("#e69f00", "^", "-."),
    MAIN: ("#d55e00", "o", "-"),
    BASELINE: ("#222222", "D", "--"),
}
_COLORS = ("#56b4e9", "#5a0087", "#69a596", "#b42d78", "#1e5a3c", "#6978f0", "#3c3cb4", "#7887b4")
_MARKERS = ("v", "P", "<", ">", "p", "h", "*")
_LINES: tuple[Line, ...] = (":", "-", "--", "-.")
AGREEMENT = Style("Agreement of all", "#007800", "X", "-")
"""Of values that belong to several networks at once."""
_UPPER = {"ema": "EMA", "cps": "CPS"}


def label(name: str, info: Mapping[str, Any] | None = None) -> str:
    """Give a network's name for readers, such as "Student (igl_dt)" or "Global teacher (swin_unet)".

    Args:
        name: of the network.
        info: of the network. A teacher is followed by its architecture, any other network but the supervised one by the
            method that trained it, where known.
    """
    role = name.removesuffix(BEST)
    words = [_UPPER.get(word, word) for word in role.split("_") if word]
    title = " ".join(words)
    title = title[:1].upper() + title[1:]
    detail = None if role == BASELINE else (info or {}).get("architecture" if is_teacher(role) else "trained_by")
    title = f"{title} ({detail})" if detail else title
    return f"{title}, best validation" if name.endswith(BEST) else title


def is_teacher(name: str) -> bool:
    """Say whether the role is that of a teacher: its name ends in it."""
    return name.removesuffix(BEST).endswith("teacher")


def label_all(names: Iterable[str], networks_info: NetworksInfo) -> dict[str, str]:
    """Give the labels of several networks; a network with its best weights goes by the info of its role."""
    return {name: label(name, networks_info.get(name) or networks_info.get(name.removesuffix(BEST))) for name in names}


def styles(names: Iterable[str], networks_info: NetworksInfo) -> dict[str, Style]:
    """Give the style of each network.

    Well-known roles have fixed colours. Others take theirs in the order of ``networks_info``, so that a network looks
    the same in all figures of a run, whichever networks a figure shows.
    """
    names = list(names)
    others = [name for name in dict.fromkeys([*networks_info, *names]) if name.removesuffix(BEST) not in _KNOWN]
    roles = {role: index for index, role in enumerate(dict.fromkeys(name.removesuffix(BEST) for name in others))}

    def look(role: str) -> tuple[str, str, Line]:
        if role in _KNOWN:
            return _KNOWN[role]
        index = roles[role]
        return _COLORS[index % len(_COLORS)], _MARKERS[index % len(_MARKERS)], _LINES[index % len(_LINES)]

    return {name: Style(text, *look(name.removesuffix(BEST))) for name, text in label_all(names, networks_info).items()}


def main_network(names: Iterable[str]) -> str:
    """Give the network that a run is about: the student, or else the first that is no teacher, or else the first.

    Raises:
        ValueError: there are no networks.
    """
    names = list(names)
    if not names:
        raise ValueError("no networks in the metrics: run the pipeline evaluation")
    last = last_weights(names)
    return MAIN if MAIN in names else next((name for name in last if not is_teacher(name)), last[0])


def last_weights(names: Iterable[str]) -> list[str]:
    """Leave out networks with their best weights where those with the last weights are there too."""
    names = list(names)
    return [name for name in names if not (name.endswith(BEST) and name.removesuffix(BEST) in names)]


def method_name(networks_info: NetworksInfo) -> str | None:
    """Give the name of the method that trained the network that a run is about; None where it is not recorded."""
    return networks_info[main_network(networks_info)].get("trained_by") if networks_info else None
