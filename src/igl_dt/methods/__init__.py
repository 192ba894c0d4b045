"""Ways to train networks, one file each with the method and its parameters; all run in the one training loop."""
