"""Every knob of the project, one frozen and typed object per concern.

Kedro builds these objects from ``conf/`` before it runs anything (each node is annotated with the object of
its own concern), and the library takes them as they are. An unknown key or a value out of range is therefore
an error before any work. The marks [paper], [family] and [ours] have the meaning they have in ``docs/method.md``:
said by the IGL-DT paper, taken from the published methods it builds on, or our own choice.
"""

import difflib
from collections.abc import Iterator
from pathlib import PureWindowsPath
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

IGNORE_INDEX = 255
"""Mask value of pixels that count neither in a loss nor in a score."""

CONFIDENT = 0.9
"""Probability from which on a pseudo-label is called confident, in reports alone."""

Probability = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Size = tuple[PositiveInt, PositiveInt]
"""Height and width in pixels."""
T = TypeVar("T", bound=tuple[float, float])


def _in_order(bounds: T) -> T:
    if bounds[0] > bounds[1]:
        raise ValueError(f"the lower bound comes first, not {list(bounds)}")
    return bounds


Range = Annotated[T, AfterValidator(_in_order)]
"""Lower and upper bound."""


class Parameters(BaseModel):
    """Base of all parameter objects: frozen, no unknown keys, no NaN or infinity, defaults checked too."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


class DatasetParameters(Parameters):
    """Which images, and at what size they are read."""

    source: str = "shapes"
    """Name of a source in ``igl_dt.data.datasets``: what knows the layout of the folder."""
    root: str
    """Folder of the data set; relative to the project's folder, or absolute."""
    image_size: Size | None = None
    """Read every image and mask at this (height, width), in training and evaluation; null: as it is on disk."""
    options: dict[str, Any] = {}
    """What only this source knows; each source has a typed object for it."""


class SplittingParameters(Parameters):
    """Which training images count as labelled: a fraction, or a list."""

    labeled_fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the training images with a mask that keep it; drawn so that every class occurs where possible."""
    labeled_list: str | None = None
    """Text file with one image per line: ids, or the lines that UniMatch, U2PL and CPS publish; takes the fraction's
    place where both are given."""
    unlabeled_list: str | None = None
    """Such a file; null: all training images that are not in the labelled list."""

    @model_validator(mode="after")
    def _one_at_least(self) -> "SplittingParameters":
        if self.labeled_fraction is None and self.labeled_list is None:
            raise ValueError("give splitting.labeled_fraction or splitting.labeled_list")
        if self.unlabeled_list is not None and self.labeled_list is None:
            raise ValueError("splitting.unlabeled_list needs splitting.labeled_list beside it")
        return self


class EncoderParameters(Parameters):
    """A timm backbone."""

    name: str
    """Any timm model with ``features_only`` support."""
    options: dict[str, Any] = {}
    """Passed on to timm, to make a backbone narrower or shallower than its name says."""
    pretrained: str | None = None
    """null: random weights; ``timm``: timm's own download; else a local .safetensors or .pth file."""


class SwinUnetParameters(Parameters):
    """SwinUnet teacher (Cao et al. 2021): global context."""

    encoder: EncoderParameters
    """Any timm Swin Transformer."""
    decoder_depth: PositiveInt = 2
    """Swin blocks per decoder stage; they start from the encoder's weights of the same resolution."""
    stem: Literal["patches", "convolutional"] = "patches"
    """How images become tokens: timm's linear patch embedding, or pairs of 3×3 convolutions [ours], which learn from
    scratch far faster."""
    refine: bool = False
    """A 3×3 convolution before the classifier [ours]."""
    head_channels: PositiveInt | None = None
    """Channels at full resolution; null: those of the encoder's first stage, as in the reference. Fewer are faster
    [ours]."""


class ResUnetParameters(Parameters):
    """ResUnet teacher: local detail."""

    encoder: EncoderParameters
    """Any timm ResNet."""
    decoder_channels: tuple[PositiveInt, ...] = (256, 128, 64, 32)
    """Channels of the residual decoder blocks, deepest first; one per encoder stage but the deepest, at most."""
    block: Literal["post_activation", "pre_activation"] = "post_activation"
    """Residual decoder block of He et al. 2016a, or the pre-activation one that Zhang et al. 2018 use."""


class DeepLabV3PlusParameters(Parameters):
    """Student: DeepLabV3+ (Chen et al. 2018), the field's standard."""

    encoder: EncoderParameters
    """Any timm backbone with features."""
    output_stride: Literal[8, 16, 32] = 16
    """Input size over the size of the deepest features; below 32 the last stages are dilated."""
    atrous_rates: tuple[PositiveInt, PositiveInt, PositiveInt] = (6, 12, 18)
    """Dilations of the spatial pyramid."""
    channels: PositiveInt = 256
    """Width of the pyramid and the decoder."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the pyramid's outputs that is dropped in training; torchvision drops half, UniMatch nothing [family]."""


class NetworksParameters(Parameters):
    """The two teachers and the student."""

    swin_unet: SwinUnetParameters
    res_unet: ResUnetParameters
    student: DeepLabV3PlusParameters


class OptimizerParameters(Parameters):
    """One network's optimiser: poly schedule after a linear warm-up, no decay on norms and biases."""

    name: Literal["adamw", "sgd"] = "sgd"
    learning_rate: Annotated[float, Field(gt=0)]
    """Peak rate of the head (everything that is not the backbone)."""
    base_batch_size: PositiveInt | None = None
    """Images per step, labelled and unlabelled ones together, that the rate is meant for; with others it is scaled
    linearly [family]. null: it holds for any."""
    backbone_lr_mult: Annotated[float, Field(gt=0)] = 1.0
    """The backbone's rate over the head's: 0.1 in the field's recipes, where the backbone is pretrained."""
    weight_decay: Weight = 1e-4
    momentum: Probability = 0.9
    """SGD's momentum; AdamW's first beta."""
    poly_power: Weight = 0.9
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    max_grad_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest gradient norm of the network; null: no clipping."""

    def for_batch(self, images: int) -> "OptimizerParameters":
        """Give the same with the rate for so many images per step."""
        if self.base_batch_size is None:
            return self
        rate = self.learning_rate * images / self.base_batch_size
        return self.model_copy(update={"learning_rate": rate, "base_batch_size": None})


class StrongAugmentation(Parameters):
    """Photometric augmentation of the strong view, on top of the weak one; defaults are UniMatch's [family]."""

    brightness: Weight = 0.5
    contrast: Weight = 0.5
    saturation: Weight = 0.5
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.25
    jitter_probability: Probability = 0.8
    grayscale_probability: Probability = 0.2
    blur_sigma: Range[tuple[Weight, Weight]] = (0.1, 2.0)
    """Range of the Gaussian's standard deviation in pixels."""
    blur_probability: Probability = 0.5


class AugmentationParameters(Parameters):
    """From an image to a view: weak is geometry, strong adds photometry."""

    crop_size: Size
    """(height, width) of the training crops; padded with 0, masks with 255, where the scaled image is smaller."""
    scale: Range[tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]] = (0.5, 2.0)
    """Range of the random scale before cropping."""
    flip_probability: Probability = 0.5
    strong: StrongAugmentation = StrongAugmentation()
    strong_unlabeled: bool = False
    """Whether unlabelled images come with a strong view beside the weak one."""
    strong_labeled: bool = False
    """Whether labelled images are taken in their strong view."""
    cutmix_probability: Probability = 0.5
    """How often an unlabelled image gets a box of its neighbour in the batch (CutMix)."""
    cutmix_area: Range[tuple[Probability, Probability]] = (0.02, 0.4)
    """Range of the box's share of the crop."""
    cutmix_ratio: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Boxes are between this and its inverse times as wide as high."""


class StageParameters(Parameters):
    """What the training loop needs to know of a stage."""

    steps: PositiveInt
    """Optimiser steps."""
    batch_size: PositiveInt
    """Labelled images per step; as many unlabelled ones come on top."""
    gradient_accumulation_steps: PositiveInt = 1
    """Parts that a step's batch is cut into, one after the other, to save memory; must divide the batch size.

    Batch norm, the choice of hard pixels and CutMix see one part at a time, so results differ."""
    validate_every: PositiveInt = 500
    """Steps between validations; the last step is always validated."""
    augmentation: AugmentationParameters

    @model_validator(mode="after")
    def _parts_divide_the_batch(self) -> "StageParameters":
        if self.batch_size % self.gradient_accumulation_steps:
            raise ValueError(
                f"gradient_accumulation_steps ({self.gradient_accumulation_steps}) must divide batch_size ({self.batch_size})"
            )
        return self


class SupervisedLossParameters(Parameters):
    """Loss against the ground truth."""

    name: Literal["cross_entropy", "ohem"] = "cross_entropy"
    """``ohem``: online hard example mining, the field's choice for Cityscapes [family]."""
    ohem_threshold: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Pixels whose probability of the true class is below this count as hard."""
    ohem_min_kept: PositiveInt = 200_000
    """At least this many pixels of a batch, or of its part where it is cut into parts, count, the hardest."""


class CrossPseudoSupervisionParameters(Parameters):
    """Stage 1, the teachers' losses [paper: CPS; the rest family]."""

    supervised: SupervisedLossParameters = SupervisedLossParameters()
    cps_weight: Weight = 1.0
    """λ_cps: 1.5 without and 1.0 with CutMix on VOC, 6 and 5 on Cityscapes [family]."""
    cps_on_labeled: bool = False
    """Whether the labelled batch gets cross pseudo-labels too [family]."""
    ramp_up_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which λ_cps rises from 0, as exp(-5(1 - t)²) [ours]."""


class IglDtParameters(Parameters):
    """Stage 2, the student's losses and their alternation."""

    supervised: SupervisedLossParameters = SupervisedLossParameters()
    labeled_pseudo_label_weight: Weight = 1.0
    """λ_pl: both teachers' pseudo-labels on the labelled batch [paper]."""
    unlabeled_pseudo_label_weight: Weight = 1.0
    """Weight of L_P on the unlabelled batch [family: 1]."""
    global_weight: Weight = 0.08
    """λ_glo [family: MGD]."""
    local_weight: Weight = 100.0
    """λ_loc on the mean squared difference of similarity matrices [family: MGD]."""
    discrepancy_weight: Weight = 0.05
    """λ_dis [ours]."""
    swap_every: PositiveInt = 1
    """Steps between swaps of the global and the local state [paper: swapping; per step: ours]."""
    pseudo_label_source: Literal["state", "both"] = "state"
    """Whether L_P on the unlabelled batch follows the state's teacher, or both."""
    confidence_threshold: Probability = 0.0
    """Pseudo-labels with a lower probability are ignored [family: none in MGD]."""
    global_map: Literal["logits", "probabilities", "features"] = "logits"
    """What is pooled for L_Glo [family: MGD pools logits]."""
    local_regions: PositiveInt | None = 7
    """Features are pooled to this many rows and columns for L_Loc [family]; null keeps every position."""
    discrepancy_space: Literal["probabilities", "features"] = "probabilities"
    """Where student and teacher are compared; ``features`` through a learned 1×1 projection [ours]."""
    ramp_up_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which the unlabelled batch's weights rise from 0, as exp(-5(1 - t)²) [ours]."""


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


class EvaluationParameters(Parameters):
    """How a network predicts a whole image."""

    mode: Literal["whole", "sliding_window"] = "whole"
    window_size: Size | None = None
    """(height, width) of the window; needed for ``sliding_window``, where the field takes the training crop."""
    window_overlap: Annotated[float, Field(ge=0, lt=1)] = 1 / 3
    """Share of the window that neighbours have in common."""
    batch_size: PositiveInt = 8
    """Images (of one size) or windows predicted at once; a matter of memory and speed."""
    scales: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (1.0,)
    """Probabilities are the mean over the image scaled by these, brought back to its own size."""
    flip: bool = False
    """Whether each scale is predicted once more mirrored (left to right), and counts into the mean."""
    boundary_width: Annotated[float, Field(gt=0, le=1)] = 0.02
    """How far from a contour boundary IoU looks, over the image's diagonal; the paper's 2 %."""

    @model_validator(mode="after")
    def _window_has_a_size(self) -> "EvaluationParameters":
        if self.mode == "sliding_window" and self.window_size is None:
            raise ValueError("evaluation.window_size is needed when evaluation.mode is sliding_window")
        return self


class ReportingParameters(Parameters):
    """What the figures show."""

    examples: PositiveInt = 3
    """Images in the qualitative figure, evenly from the student's best to its worst; 3: best, median and worst."""


class WeightsEvaluationParameters(Parameters):
    """Which weight file ``weights_evaluation`` measures, and on which images of ``dataset``."""

    weights: str | None = None
    """Weight file of any network of the project, of the data set's classes; needed."""
    split: Literal["train", "val", "test"] = "val"
    """Which images: those of this split that have a mask."""


class PredictionParameters(Parameters):
    """Which images get masks, and what is written."""

    images: str | None = None
    """Folder of images; needed."""
    weights: str | None = None
    """Weight file of any network of the project; needed, and nothing else is."""
    output: str
    """Folder of the masks and overlays."""
    probabilities: bool = False
    """Whether to write the classes' probabilities too: large files."""
    overwrite: bool = False
    """Whether masks that are there already may be replaced."""


def _below_a_folder(path: str) -> str:
    parts = PureWindowsPath(path)  # knows the separators and roots of all systems
    if not path or parts.drive or parts.root or ".." in parts.parts:
        raise ValueError(f"must be a path below a folder, not {path!r}")
    return path


class ArchiveParameters(Parameters):
    """An archive (.zip, .tar, .tar.gz and the like) of which one folder is unpacked."""

    file: Annotated[str, Field(pattern=r"^[^./\\][^/\\]*$")]
    """Its name in ``fetching.folder``."""
    url: Annotated[str, Field(pattern=r"^https?://[^/]+/.")] | None = None
    """Where it is downloaded from; null: only the user can get it, from ``page``."""
    page: str | None = None
    """Page on which the user gets it."""
    checksum: Annotated[str, Field(pattern="^(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})$")] | None = None
    """``md5:`` or ``sha256:`` and its digits; needed beside ``url``."""
    member: Annotated[str, AfterValidator(_below_a_folder)]
    """The folder in the archive that is unpacked; what is beside it is not. ``.``: all."""
    target: Annotated[str, AfterValidator(_below_a_folder)]
    """The folder that it becomes, relative to ``dataset.root``."""

    @model_validator(mode="after")
    def _one_way_to_get_it(self) -> "ArchiveParameters":
        if (self.url is None) == (self.page is None):
            raise ValueError(f"{self.file} needs url, or page where only the user can get it; not both")
        if self.url is not None and self.checksum is None:
            raise ValueError(f"{self.file} needs a checksum beside its url")
        return self


class FetchingParameters(Parameters):
    """What ``data_fetching`` gets."""

    folder: str
    """Folder of the archives as they were downloaded, or put there by the user."""
    archives: tuple[ArchiveParameters, ...] = ()
    """Unpacked in this order."""


OPSETS = range(14, 21)
"""Versions of ONNX's operators that have what the networks need and that torch's exporter can write."""


def _an_opset(opset: int) -> int:
    if opset not in OPSETS:
        raise ValueError(f"must be {OPSETS[0]} to {OPSETS[-1]}, not {opset}")
    return opset


class ExportParameters(Parameters):
    """Which network becomes an ONNX file, and how."""

    weights: str | None = None
    """Weight file of any network of the project; needed, and nothing else is."""
    folder: str
    """Folder of the file where ``output`` is null; its name is that of the weights, with .onnx."""
    output: str | None = None
    """The .onnx file."""
    opset: Annotated[int, AfterValidator(_an_opset)] = 18
    """Version of ONNX's operators."""
    size: Size | None = None
    """(height, width) of the only images that the file takes; null: any size."""
    overwrite: bool = False
    """Whether a file that is there already may be replaced."""


class RuntimeParameters(Parameters):
    """Where and how it runs."""

    CHANGING_NO_RESULT: ClassVar[tuple[str, ...]] = (
        "workers",
        "cache_mib",
        "checked_files",
        "recovery_folder",
        "recovery_seconds",
    )
    """The other fields do decide a result's last bits."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto``: CUDA where there is one, else the CPU."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """``bfloat16``: autocast; losses and weights stay in float32."""
    threads: PositiveInt | None = None
    """Threads of one operation on the CPU; null: as many as torch would take. Kernels' last bits depend on it."""
    portable: bool = False
    """Whether to compute with AVX2 alone, as x86 processors of different age can alike; slower on the newer ones."""
    workers: Annotated[int, Field(ge=0)] = 1
    """Processes that read and augment images beside the training one; 0: none. Changes no result."""
    cache_mib: Annotated[int, Field(ge=0)] = 1024
    """Memory for decoded images, per process that reads them. Changes no result."""
    checked_files: str | None = None
    """File that keeps what the check of the data set's files found, so that the next run reads new and changed ones
    only; null: all are read every time. Changes no result."""
    recovery_folder: str | None = None
    """Where trainings keep what they go on from when they were cut off; null: nowhere. Changes no result."""
    recovery_seconds: Annotated[float, Field(ge=0)] = 60.0
    """Between two states in that folder. Changes no result."""


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


def explain(error: ValidationError, kind: type[BaseModel]) -> Iterator[str]:
    """Say in one line each what is wrong with the values of a parameter object, and bring the nearest known key."""
    for problem in error.errors():
        path = [str(part) for part in problem["loc"]]
        where = f"{'.'.join(path)}: " if path else ""
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            known = _fields(kind, path[:-1])
            nearest = difflib.get_close_matches(path[-1], known, n=1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else f". It takes: {', '.join(known) or 'none'}"
            yield f"{where}unknown{hint}"
        elif problem["type"] == "missing":
            yield f"{where}missing"
        elif problem["type"] == "value_error":  # of several keys at once, which the message names
            yield f"{where}{message}"
        else:
            yield f"{where}{message}, not {problem['input']!r}"


def _fields(kind: Any, path: list[str]) -> list[str]:
    """Name the fields of the object at a path of nested objects."""
    for part in path:
        field = kind.model_fields.get(part)
        nested = (field.annotation, *get_args(field.annotation)) if field else ()  # also those that may be null
        kind = next((n for n in nested if isinstance(n, type) and issubclass(n, BaseModel)), None)
        if kind is None:
            return []
    return list(kind.model_fields)
