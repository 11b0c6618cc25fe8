"""The layer types, one file per family; importing the package registers those of every file in it.

A layer type of your own needs these names:

    from darknet_torch.layers import Layer, layer, option
"""

from importlib import import_module
from pkgutil import iter_modules

from darknet_torch.layers.base import Function, Layer, Segment, Shape
from darknet_torch.layers.registry import layer
from darknet_torch.parsing.options import Activation, option

__all__ = ["Activation", "Function", "Layer", "Segment", "Shape", "layer", "option"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
