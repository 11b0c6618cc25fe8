"""A small detector, for tests that write its files; its fixtures are in tests/conftest.py."""

__all__ = ["CFG"]

CFG = """[net]
width=64
height=64
channels=3
[convolutional]
batch_normalize=1
filters=8
size=3
stride=4
pad=1
activation=leaky
[convolutional]
filters=14
size=4
stride=4
activation=linear
[yolo]
mask=0,1
anchors=10,14, 30,40
classes=2
num=2
"""
