"""IGL-DT: semi-supervised semantic segmentation with two teachers and a student that swaps between them."""

import os

# How long torch's threads spin while they wait for each other; read when torch is imported, changes no result. Spinning
# forever (the default) makes a step several times slower beside any other process, the loader's workers included; no
# spinning makes small networks twice as slow on an idle machine.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
