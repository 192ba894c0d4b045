"""Nodes of ``teacher_pretraining``."""

import pandas as pd

from igl_dt.data import splits
from igl_dt.data.parameters import DatasetParameters
from igl_dt.kedro_ext.parameters import TeacherPretrainingParameters
from igl_dt.networks.architectures.res_unet import ResUnetParameters
from igl_dt.networks.architectures.swin_unet import SwinUnetParameters
from igl_dt.pipelines import Network
from igl_dt.runtime.parameters import EvaluationParameters, RuntimeParameters


def initialize_swin_unet(parameters: SwinUnetParameters, class_names: list[str], seed: int) -> Network:
    """Build the SwinUnet teacher, for the global context."""
    from igl_dt.stages import initialize_network

    return initialize_network("swin_unet", parameters, class_names, seed)


def initialize_res_unet(parameters: ResUnetParameters, class_names: list[str], seed: int) -> Network:
    """Build the ResUnet teacher, for the local detail."""
    from igl_dt.stages import initialize_network

    return initialize_network("res_unet", parameters, class_names, seed)


def choose_pseudo_label_probe(
    manifest: pd.DataFrame, unlabeled: pd.DataFrame, parameters: TeacherPretrainingParameters
) -> pd.DataFrame:
    """Look up the hidden truth of a few unlabelled images, for measurements alone."""
    return splits.choose_pseudo_label_probe(manifest, unlabeled, parameters.pseudo_label_probe_size)


def pretrain_teachers(
    swin_unet: Network,
    res_unet: Network,
    labeled: pd.DataFrame,
    unlabeled: pd.DataFrame,
    val: pd.DataFrame,
    monitored: pd.DataFrame,
    parameters: TeacherPretrainingParameters,
    dataset: DatasetParameters,
    evaluation: EvaluationParameters,
    runtime: RuntimeParameters,
    seed: int,
) -> tuple[Network, Network, pd.DataFrame]:
    """Train both teachers by Cross Pseudo Supervision: each labels the unlabelled images for the other."""
    from igl_dt.stages import Surroundings, pretrain_teachers

    surroundings = Surroundings(dataset, evaluation, runtime, seed)
    return pretrain_teachers(swin_unet, res_unet, labeled, unlabeled, val, parameters, surroundings, monitored)
