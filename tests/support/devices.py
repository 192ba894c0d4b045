"""Devices that tests run on: the CPU always, CUDA where there is one."""

import pytest
import torch

DEVICES = ("cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")))
