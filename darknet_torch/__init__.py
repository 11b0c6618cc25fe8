"""darknet_torch: networks of Darknet's .cfg + .weights in PyTorch, with Darknet's own numbers.

The map, in the order in which the data flows (each file imports only what stands before it):

    errors, files, optional       the tree of errors; whole files or none; packages of extras
    images                        pictures: reading, Darknet's resizing, drawing
    parser, c_numbers             text -> sections; numbers as C reads them
    dialect, options              the forks as data; sections -> typed options
    boxes, tree, layers, heads    what sections mean: shapes, sums, weights, boxes
    net, graph, network, weights   layers in their places, the nn.Module, the weights file
    fold                          batch norm becomes part of the weights
    matching, checkpoint          tensors in other files, those of other ports too
    surgery                       fewer layers, other classes
    summary, zoo                  tables, known models
    engines, loading              converted files; names and paths -> networks
    sources                       pictures, read ahead
    detections, detector          pictures -> boxes of objects, on pictures too
    classifier, generator         pictures -> classes; characters -> text
    onednn, winograd, packed, optimized   faster forward passes
    exporters                     networks as files of other programs
    stored, verification          what is in such files, compared on photos
    engine_choice                 the fastest engine here
    data, anchors                 data sets: what is marked in pictures; the sizes that fit it best
    metrics                       detections against that: Darknet's figures, VOC's, COCO's
    records, ranks, findings      all pictures of a data set: kept, shared out, gone through
    evaluation, evaluator         networks measured
    plots, outputs                the figures as pictures and files
    cli                           the command

Names are loaded when they are first used, so that importing this package does not import torch.
No file has the name of a public function, else importing the file would hide the function.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from darknet_torch.version import __version__

if TYPE_CHECKING:
    from darknet_torch.classifier import classify
    from darknet_torch.detections import Detections
    from darknet_torch.detector import detect
    from darknet_torch.dialect import ALEXEYAB, HANK_AI, PJREDDIE
    from darknet_torch.errors import DarknetError
    from darknet_torch.evaluator import evaluate
    from darknet_torch.exporters import export
    from darknet_torch.loading import build, list_cfgs, load, parse_cfg, plan, save
    from darknet_torch.network import Network
    from darknet_torch.optimized import optimize
    from darknet_torch.verification import verify
    from darknet_torch.zoo import list_models

_HOMES = {
    "ALEXEYAB": "dialect",
    "DarknetError": "errors",
    "Detections": "detections",
    "HANK_AI": "dialect",
    "Network": "network",
    "PJREDDIE": "dialect",
    "build": "loading",
    "classify": "classifier",
    "detect": "detector",
    "evaluate": "evaluator",
    "export": "exporters",
    "list_cfgs": "loading",
    "list_models": "zoo",
    "load": "loading",
    "optimize": "optimized",
    "parse_cfg": "loading",
    "plan": "loading",
    "save": "loading",
    "verify": "verification",
}

__all__ = [
    "ALEXEYAB",
    "HANK_AI",
    "PJREDDIE",
    "DarknetError",
    "Detections",
    "Network",
    "__version__",
    "build",
    "classify",
    "detect",
    "evaluate",
    "export",
    "list_cfgs",
    "list_models",
    "load",
    "optimize",
    "parse_cfg",
    "plan",
    "save",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its file at first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
