"""A second evaluator of Darknet networks: float64, plain numpy, slow, independent of the package.

It is written from the description of the formats and shares no code with darknet_torch but the
parser that splits a cfg into sections. It reads the weights file's floats as it computes: a layer
takes what it needs when it first runs, so the order of the file is the order of the calls.

    net = naive.Net("alexeyab", naive.Floats(array))
    outputs = net.run(sections, x)        # x and outputs: (c, h, w), or (n,) for plain vectors
    outputs = net.run(sections, x)        # recurrent layers remember the first pass
"""

from naive import heads, moving, recurrent, weighted  # noqa: F401 (they register their sections)
from naive.net import REGISTRY, Drawn, Floats, IllegalError, Layer, Net
from naive.numbers import atof, atoi

__all__ = ["REGISTRY", "Drawn", "Floats", "IllegalError", "Layer", "Net", "atof", "atoi"]
