"""IGL-DT: semi-supervised semantic segmentation with two teachers and a student that swaps between them."""

import os

# Torch's threads must not spin while they wait for each other: where anything else runs on the machine, the loader's
# workers included, a step would take several times as long. Read when torch is imported; changes no result.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
