"""Everything that conf/ may say: one group per concern."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from igl_dt.data.parameters import DatasetParameters, FetchingParameters, SplittingParameters
from igl_dt.inference.parameters import ExportParameters, PredictionParameters, WeightsEvaluationParameters
from igl_dt.methods.cps import CrossPseudoSupervisionParameters
from igl_dt.methods.igl_dt import IglDtParameters
from igl_dt.networks.architectures.deeplab_v3_plus import DeepLabV3PlusParameters
from igl_dt.networks.architectures.res_unet import ResUnetParameters
from igl_dt.networks.architectures.swin_unet import SwinUnetParameters
from igl_dt.reporting.parameters import ReportingParameters
from igl_dt.runtime.parameters import EvaluationParameters, RuntimeParameters
from igl_dt.training.parameters import OptimizerParameters, StageParameters
from igl_dt.utils.parameters import Parameters


class NetworksParameters(Parameters):
    """The two teachers and the student."""

    swin_unet: SwinUnetParameters
    res_unet: ResUnetParameters
    student: DeepLabV3PlusParameters


class TeacherPretrainingParameters(StageParameters):
    """Stage 1: both teachers by Cross Pseudo Supervision."""

    swin_unet: OptimizerParameters
    res_unet: OptimizerParameters
    losses: CrossPseudoSupervisionParameters = CrossPseudoSupervisionParameters()
    keep: Literal["last", "best"] = "last"
    """Which weights the student learns from: the last, or those of the best validation mIoU, per teacher [ours]."""
    pseudo_label_probe_size: Annotated[int, Field(ge=0)] = 32
    """Unlabelled images whose pseudo-labels are compared, at each validation, with each other and with the hidden
    truth where the disk has it; 0: none. A measurement: changes no result [ours]."""


class StudentLearningParameters(StageParameters):
    """Stage 2: the student, and the reference trained on the labelled images alone."""

    student: OptimizerParameters
    losses: IglDtParameters = IglDtParameters()
    reference: bool = True
    """Also train the student's network on the labelled images alone, for as many steps."""

    @model_validator(mode="after")
    def _reference_has_batches(self) -> "StudentLearningParameters":
        if self.reference and self.batch_size == self.gradient_accumulation_steps:
            raise ValueError(
                f"batch_size ({self.batch_size}) over gradient_accumulation_steps ({self.gradient_accumulation_steps}) must be at least 2: DeepLabV3+ "
                "has a batch norm over one value per image; or set reference to false"
            )
        return self


class ProjectParameters(Parameters):
    """Everything that ``conf/`` may say: one group per concern."""

    seed: Annotated[int, Field(ge=0)]
    """Decides the split, the initial weights, the order of the images and all augmentation."""
    dataset: DatasetParameters
    splitting: SplittingParameters
    networks: NetworksParameters
    teacher_pretraining: TeacherPretrainingParameters
    student_learning: StudentLearningParameters
    evaluation: EvaluationParameters
    reporting: ReportingParameters
    weights_evaluation: WeightsEvaluationParameters
    prediction: PredictionParameters
    fetching: FetchingParameters
    export: ExportParameters
    runtime: RuntimeParameters
