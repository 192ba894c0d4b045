"""The losses, and the mixing they share, as plain functions of tensors.

Each takes tensors of any floating type, computes in float32 (float64 where it is given float64) also under
autocast, and returns a scalar. Where there is a teacher, it gets no gradient. No operation is used that lacks a
deterministic CUDA kernel.
"""
