"""Faster forward passes: packed weights, Winograd's products, compiled programs, engines tried."""
