"""Runs the installed package outside its repository: ``python -m igl_dt --conf-source=FOLDER --env=ENVIRONMENT``."""

import sys

from kedro.framework.project import configure_project

from igl_dt.cli import run


def main() -> None:
    """Run a pipeline with the options of ``kedro run``; paths start at the current folder."""
    configure_project("igl_dt")
    run.main(sys.argv[1:], prog_name="python -m igl_dt")


if __name__ == "__main__":
    main()
