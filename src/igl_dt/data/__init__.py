"""Images: where they come from, how they are checked, split, read and augmented."""
