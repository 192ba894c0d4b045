"""IGL-DT: semi-supervised semantic segmentation with two teachers and a student that swaps between them."""

import os

# How long torch's threads spin while they wait for each other, read when torch is imported; it changes no result. For
# ever, as by default, a step takes several times as long beside any other process, the loader's workers included; not
# at all, it takes twice as long for small networks on a quiet machine.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
