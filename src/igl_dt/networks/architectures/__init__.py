"""Architectures, one file each: a network and its typed parameters; its `name` selects it."""
