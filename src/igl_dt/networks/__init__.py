"""Segmentation networks: timm backbones, architectures around them, and their weight files."""
