"""Faster forward passes: packed weights, Winograd's convolutions, compiling, choice of an engine."""
