"""On a real terminal the bar and what is logged beside it do not garble each other."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

SRC, CONF = (Path(__file__).parents[2] / name for name in ("src", "conf"))
TRAINING = """
import logging.config, sys, time, yaml
from igl_dt.utils.progress import Progress
logging.config.dictConfig(yaml.safe_load(open(sys.argv[1])))
progress = Progress("teacher_pretraining (swin_unet, res_unet)", 0, 40, 4)
for done in range(1, 41):
    time.sleep(0.02)
    losses = {f"network.loss_{number}": done / 10 for number in range(6)} if done % 4 == 0 else {}
    progress.update(done, losses)
    if done % 10 == 0:
        logging.getLogger("igl_dt.other").info("after %d steps there is something to be said", done)
progress.close()
logging.getLogger("kedro").info("Completed node")
"""


def run_on_terminal(columns: int) -> bytes:
    """Give what a training writes to a terminal of this width."""
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", TRAINING, str(CONF / "logging.yml")],
        stdout=end, stderr=end, stdin=end, env=os.environ | {"PYTHONPATH": str(SRC), "TERM": "xterm"},
    )  # fmt: skip
    os.close(end)
    written = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # nobody writes any more
            break
        if not part:
            break
        written += part
    os.close(terminal)
    assert process.wait() == 0, written.decode()
    return written


def screen(written: bytes, columns: int) -> list[str]:
    """Give the lines that a terminal then shows."""
    lines, column = [""], 0
    for character in written.decode():
        if character == "\r":
            column = 0
        elif character == "\n":
            lines.append("")
        else:
            assert character.isprintable(), repr(character)
            if column == columns:
                lines.append("")
                column = 0
            lines[-1] = lines[-1][:column].ljust(column) + character + lines[-1][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]


@pytest.mark.parametrize("columns", [80, 160])
def test_each_has_lines_of_its_own(columns: int) -> None:
    *above, bar, last, rest = screen(run_on_terminal(columns), columns)
    assert len(above) == 4
    for number, line in enumerate(above, start=1):
        assert line.endswith(f" INFO    after {10 * number} steps there is something to be said"), line
    assert bar.startswith("teacher_pretraining (swin_unet, res_unet) 100% |")
    assert " 40/40 [" in bar
    assert len(bar) <= columns
    assert (" images/s  network.loss_0 4.000" in bar) == (columns == 160)
    assert last.endswith(" INFO    Completed node")
    assert rest == ""
