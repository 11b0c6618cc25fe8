"""Faster forward passes: packed weights, Winograd's convolutions, compilers, other engines."""
