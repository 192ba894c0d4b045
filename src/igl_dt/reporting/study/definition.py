"""What a study compares: methods and named ablations, each at labelled fractions and seeds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, Field, ValidationError

from igl_dt.utils.parameters import Parameters, did_you_mean, explain, flatten

Fraction = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_]*$")]
"""No hyphen: it separates the parts of a run's name."""
Values = Annotated[dict[str, Any], AfterValidator(lambda values: dict(flatten(values)))]
"""Parameters by their path, such as ``student_learning.steps``, as ``--params`` takes them; also nested."""
TEACHERS = "teachers"
TEACHER_PRETRAINING = "teacher_pretraining"
OF_THE_STUDY = {
    "run": "each run has a name of its own",
    "seed": "give seeds instead, by which methods are paired",
    "splitting.labeled_fraction": "give fractions instead",
    "student_learning.method.name": "name a method among methods instead",
    "student_learning.reference": "name supervised among methods instead",
    "teachers_run": "runs share teachers by their seed, fraction and parameters",
}
"""Parameters that the study sets for each run, and what to do instead."""


class Variant(Parameters):
    """A method or an ablation, where it differs from the study."""

    method: str | None = None
    """For an ablation: the one of ``methods`` that it changes. For a method: its registered name or
    ``package.module:Class``, where it has another name in the study, such as one with more steps."""
    parameters: Annotated[Values, Field(default_factory=dict)]
    """On top of the study's."""
    fractions: Annotated[tuple[Fraction, ...], Field(min_length=1)] | None = None
    """null: the study's; for an ablation: the method's."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] | None = None
    """null: as for ``fractions``."""


class Study(Parameters):
    """The definition of a study: ``studies/<name>/study.yml``."""

    env: str
    """Kedro environment that every cell starts from."""
    parameters: Annotated[Values, Field(default_factory=dict)]
    """They apply to every cell, on top of the environment's."""
    fractions: Annotated[tuple[Fraction, ...], Field(min_length=1)]
    """Labelled fractions."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]
    """Each decides the labelled list, initial weights, order and crops of its cells, whatever the method: differences
    between methods are paired by it."""
    methods: Annotated[dict[Name, Variant], Field(min_length=1)]
    """By the method's name, or any name where ``method`` has the method's."""
    ablations: Annotated[dict[Name, Variant], Field(default_factory=dict)]
    """By a name of their own."""
    candidates: tuple[Name, ...] = ("igl_dt", "igl_dt_plus")
    """Methods whose differences to every other are reported; those that the study does not have are left out."""

    def registered(self, name: str) -> str:
        """Give the registered method of one of ``methods``."""
        return self.methods[name].method or name

    def variants(self) -> Iterator[tuple[str, str, Variant]]:
        """Give the method, the ablation ("" for none) and the variant of each, with fractions and seeds filled in."""
        named = [(name, "", variant, Variant(parameters={})) for name, variant in self.methods.items()]
        for name, variant in self.ablations.items():
            named.append((str(variant.method), name, variant, self.methods[str(variant.method)]))
        for method, name, variant, whole in named:
            parameters = self.parameters | whole.parameters | variant.parameters
            fractions = variant.fractions or whole.fractions or self.fractions
            seeds = variant.seeds or whole.seeds or self.seeds
            yield method, name, Variant(parameters=parameters, fractions=fractions, seeds=seeds)


@dataclass(frozen=True)
class Cell:
    """One run of a study."""

    study: str
    method: str
    """Its name in the study. ``teachers``: a run that pretrains the teachers that others share."""
    ablation: str
    """"" for none."""
    fraction: float
    seed: int
    parameters: Values = field(hash=False)
    """All values that differ from the environment's, by path; but for ``run``."""
    teachers: str | None = None
    """Run whose teachers are loaded; None: the method has none."""

    @property
    def variant(self) -> str:
        """The method, and the ablation if it is one."""
        return "-".join(filter(None, [self.method, self.ablation]))

    @property
    def run(self) -> str:
        """Name of the run."""
        return f"{self.study}-{self.variant}-{self.fraction:g}-{self.seed}"

    @property
    def pipelines(self) -> list[str]:
        """The pipelines that make it."""
        trained = [TEACHER_PRETRAINING] if self.method == TEACHERS else ["student_learning", "evaluation"]
        return ["data_splitting", *trained]


def read_study(path: Path) -> Study:
    """Read a definition.

    Raises:
        ValueError: there is no such file; or it has unknown keys, wrong values, an ablation of no method, a method
            called ``teachers``, or parameters that are of the study itself.
    """
    if not path.is_file():
        known = sorted(other.parent.name for other in path.parents[1].glob(f"*/{path.name}"))
        raise ValueError(f"there is no study {path.parent.name!r}{did_you_mean(path.parent.name, known)}")
    try:
        study = Study.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    except ValidationError as error:
        raise ValueError("\n".join(f"{path}: {problem}" for problem in explain(error, Study))) from error
    if TEACHERS in study.methods:
        raise ValueError(
            f"{path}: methods.{TEACHERS}: this is what runs that pretrain teachers are called, choose another"
        )
    for name, variant in study.ablations.items():
        if variant.method not in study.methods:
            hint = did_you_mean(variant.method or "", study.methods)
            raise ValueError(f"{path}: ablations.{name}.method must be one of the methods{hint}")
    named = [*study.methods.items(), *study.ablations.items()]
    for of, parameters in [("", study.parameters), *((f" of {name}", variant.parameters) for name, variant in named)]:
        for key, instead in OF_THE_STUDY.items():
            if key in parameters:
                raise ValueError(f"{path}: {key} must not be among the parameters{of}: {instead}")
    return study


def list_cells(name: str, study: Study, needs_teachers: Callable[[str], bool]) -> list[Cell]:
    """Give the runs of a study in the order in which they run: seed by seed, teachers before their students.

    ``needs_teachers`` tells of a registered method whether it learns from pretrained teachers.

    Raises:
        ValueError: two cells would be the same run.
    """
    cells: dict[str, Cell] = {}
    variants = list(study.variants())
    for seed in dict.fromkeys(seed for _, _, variant in variants for seed in variant.seeds or ()):
        for method, ablation, variant in variants:
            for fraction in (variant.fractions or ()) if seed in (variant.seeds or ()) else ():
                base = {"seed": seed, "splitting.labeled_fraction": fraction}
                values = base | variant.parameters
                registered, teachers = study.registered(method), None
                own = {"student_learning.method.name": registered, "student_learning.reference": False}
                if needs_teachers(registered):
                    usual = _without(base | study.parameters, "student_learning.")
                    wanted = _without(values, "student_learning.")
                    alike = (cell for cell in cells.values() if cell.method == TEACHERS and cell.parameters == wanted)
                    title = "" if wanted == usual else ablation or method
                    found = next(alike, Cell(name, TEACHERS, title, fraction, seed, wanted))
                    if cells.setdefault(found.run, found) is not found:
                        raise ValueError(f"study {name}: {title} is a method and an ablation: give one another name")
                    teachers = found.run
                    own["teachers_run"] = teachers
                values = _without(values, f"{TEACHER_PRETRAINING}.") | own
                cell = Cell(name, method, ablation, fraction, seed, values, teachers)
                if cells.setdefault(cell.run, cell) is not cell:
                    raise ValueError(
                        f"studies/{name}/study.yml: fractions: two runs would be called {cell.run}; make them differ "
                        "within six significant digits"
                    )
    return list(cells.values())


def _without(values: Values, prefix: str) -> Values:
    return {key: value for key, value in values.items() if not key.startswith(prefix)}
