"""Masks for new images, and networks for other programs."""
