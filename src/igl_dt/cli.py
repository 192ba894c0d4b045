"""The project's own commands, under ``kedro``."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click
from kedro.framework.cli import project
from kedro.framework.project import configure_project
from kedro.framework.startup import ProjectMetadata

from igl_dt.kedro_ext.environments import check_environment, find_modules_in
from igl_dt.utils.parameters import did_you_mean

if TYPE_CHECKING:
    from igl_dt.kedro_ext.study import Plan


class RunCommand(click.Command):
    """Kedro's own command, which answers an unknown pipeline with the nearest name instead of a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        """Check the names, then run."""
        wanted = [*ctx.params["pipelines"], *filter(None, [ctx.params["pipeline"]])]
        if wanted:
            from igl_dt.pipeline_registry import register_pipelines

            known = register_pipelines().keys()
            for name in wanted:
                if name not in known:
                    raise click.ClickException(f"--pipelines: there is no pipeline {name!r}{did_you_mean(name, known)}")
        return super().invoke(ctx)


run = RunCommand("run", params=project.run.params, callback=project.run.callback, help=project.run.help)
"""What ``kedro run`` and, in an installed package, ``python -m igl_dt`` call."""


@click.group()
def cli() -> None:
    """IGL-DT: semi-supervised semantic segmentation.

    \b
    kedro run                    everything, on built-in images;
                                 replaces what an earlier run left
    kedro run --env=smoke        the same in seconds, to see that it works;
                                 other environments are the folders in conf/
    kedro run --pipelines=NAME   a stage of it; for names: kedro registry list
    kedro run --params=seed=1    with another value of what is in conf/base/
    kedro viz run                graph and results in the browser
    """  # noqa: D301 (it has to be a backspace: click's sign for lines that are to stay as they are)


cli.add_command(run)


@cli.group(short_help="Keep dvc.yaml in sync with the Kedro pipelines.")
def dvc() -> None:
    """Keep dvc.yaml in sync with the Kedro pipelines.

    `dvc repro` then reruns only the stages that are out of date.
    """


@dvc.command(short_help="Write dvc.yaml from the graph.")
@click.option("--env", help="Only for this environment, whose dvc.yaml is in environments/ENV/.")
@click.option("--check", is_flag=True, help="Write nothing; list the differences, and fail if there are any.")
@click.pass_obj
def sync(metadata: ProjectMetadata, env: str | None, check: bool) -> None:
    """Write dvc.yaml from the graph, catalog, parameters and imports.

    Run it after changing any of these; it lists what was out of date. Without --env, it writes the dvc.yaml of base and
    of every environment that already has one.
    """
    from igl_dt.dvc_ext.sync import Environment, differences, find_environments, write

    project = _open_project(metadata)
    if env:
        check_environment(env, project / "conf")
    environments = [Environment(project, env)] if env else find_environments(project)
    try:
        found = [line for environment in environments for line in differences(environment)]
        for line in found:
            click.echo(line)
        if check and found:
            raise click.ClickException("dvc.yaml is out of date: run `kedro dvc sync` to update it")
        for environment in [] if check else environments:
            write(environment)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{', '.join(str(each.path) for each in environments)}: {'up to date' if not found else 'written'}")


@cli.command(short_help="Reproduce the committed results, and compare them bit by bit.")
@click.option("--env", default="base", show_default=True, help="An environment with a committed dvc.lock.")
@click.option("--record", is_flag=True, help="Save the new results as the environment's dvc.lock.")
@click.pass_obj
def reproduce(metadata: ProjectMetadata, env: str, record: bool) -> None:
    """Reproduce all results of the last commit, in a clone, and compare them with those in its dvc.lock.

    It takes as long as `kedro run`, and changes nothing here unless --record is given. It prints a line per result. If
    any result differs, it also lists the differences of the environment and exits with code 1.
    """
    from igl_dt.dvc_ext.reproduce import ReproductionError, reproduce
    from igl_dt.dvc_ext.sync import Environment

    project = _open_project(metadata)
    check_environment(env, project / "conf")
    environment = Environment(project, env)
    try:
        report = reproduce(environment, record)
    except ReproductionError as error:
        raise click.ClickException(str(error)) from error
    click.echo(report.table())
    if not report.same and not record:
        raise click.exceptions.Exit(1)


@cli.group(short_help="Compare methods in many runs.")
def study() -> None:
    """Compare methods in many runs, as `studies/NAME/study.yml` defines them."""


@study.command(name="plan", short_help="List the runs of a study: done or not, and the hours left.")
@click.argument("name")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1), help="Runs at once.")
@click.pass_obj
def plan_study(metadata: ProjectMetadata, name: str, jobs: int) -> None:
    """List the runs of a study: which are done, and how many hours the others need, estimated from those."""
    from igl_dt.kedro_ext.study import describe_plan

    click.echo(describe_plan(_load_plan(metadata, name), jobs))


@study.command(name="run", short_help="Run what is not done yet, and gather the results.")
@click.argument("name")
@click.option(
    "--jobs",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Runs at once; each uses one thread unless the study says otherwise.",
)
@click.option(
    "--address",
    help="Ray cluster (extra ray) whose machines share this folder: HOST:PORT, auto, or local to start one.",
)
@click.pass_obj
@click.pass_context
def run_study(context: click.Context, metadata: ProjectMetadata, name: str, jobs: int, address: str | None) -> None:
    """Run what is not done yet, and gather the results as `kedro study report` does.

    Interrupted runs resume. A failed run does not stop the others. Ctrl-C stops all runs and saves their states.
    """
    from igl_dt.kedro_ext.study import run_cells

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # it ends the runs too, as Ctrl-C does
    plan = _load_plan(metadata, name)
    try:
        failed = run_cells(plan, jobs, click.echo, address)
    except KeyboardInterrupt:
        click.echo(f"The same command resumes the study; `kedro study report {name}` gathers what is done so far.")
        raise
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    context.invoke(report_study, name=name)
    if failed:
        runs = ", ".join(cell.run for cell in failed)
        raise click.ClickException(
            f"not done: {runs}; see their logs, data/09_recovery/RUN.log. The same command tries them again"
        )


@study.command(name="report", short_help="Gather the results of a study as far as it has come.")
@click.argument("name")
@click.pass_obj
def report_study(metadata: ProjectMetadata, name: str) -> None:
    """Write tables, figures and a page of the runs that are done into the study's folder."""
    from kedro.framework.session import KedroSession

    _load_plan(metadata, name)  # so that an error in it comes without a traceback
    with KedroSession.create(metadata.project_path, runtime_params={"study": name}) as session:
        session.run(pipeline_names=["study"])  # type: ignore[call-arg]
    click.echo(f"{metadata.project_path / 'studies' / name / 'results.csv'}")


def _open_project(metadata: ProjectMetadata) -> Path:
    """Let Kedro and Python know of the project; gives its folder."""
    configure_project(metadata.package_name)
    find_modules_in(project := Path(metadata.project_path))
    return project


def _load_plan(metadata: ProjectMetadata, name: str) -> "Plan":
    from igl_dt.kedro_ext.study import load_plan

    try:
        return load_plan(_open_project(metadata), name)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
