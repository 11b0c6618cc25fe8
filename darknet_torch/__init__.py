"""darknet_torch: networks of Darknet's .cfg + .weights in PyTorch, with Darknet's own numbers.

The map, in the order in which the data flows. A folder is a stage of the flow; a file imports only
from its own folder and from what stands before it here:

    safety                          other people's text, temporary files, other programs: what these
                                    cannot do here
    errors, version                 the tree of errors; the version
    files, extras                   atomic writes; packages of extras
    distributed, progress           several processes; what callers are told of long tasks
    parsing                         text <-> sections -> typed options; the forks as data
    images                          reading, Darknet's resizing and the way back, drawing
    zoo                             known models: catalogue and downloads
    data                            labelled images: reading, checking, converting; anchors
    layers                          the layer types: wiring, shapes, computation, weights
    heads                           raw maps -> boxes and scores; NMS
    metrics                         detections against ground truth: Darknet, VOC, COCO
    network                         plan, nn.Module, the files of its weights
    inference                       images -> detections, classes; converted files and engines
    loading                         the front door: names and paths -> plans and networks
    evaluation                      networks measured on data sets
    exporters                       files of other programs, verified
    speed                           faster forward passes
    training                        losses of all layers, solver, augmentation, the loop
    videos                          files, cameras and streams -> frames with detections, tracks
    server                          networks behind HTTP, with a page to try them
    batch                           millions of images: clusters, Parquet, restarts
    cli                             the command, one file a verb
    __main__                        the command, as `python -m darknet_torch`

Names are loaded when they are first used, so that importing this package does not import torch.
No folder and no file at the root has the name of a public function, else importing it would hide
the function.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from darknet_torch.version import __version__

if TYPE_CHECKING:
    from darknet_torch.errors import DarknetError
    from darknet_torch.evaluation.evaluator import evaluate
    from darknet_torch.exporters.calibration_options import Calibration
    from darknet_torch.exporters.export import export
    from darknet_torch.exporters.verification import verify
    from darknet_torch.files import SAMPLE
    from darknet_torch.inference.classifier import classify
    from darknet_torch.inference.detections import Detections
    from darknet_torch.inference.detector import detect
    from darknet_torch.loading import build, list_cfgs, load, parse_cfg, plan, save
    from darknet_torch.network import Network
    from darknet_torch.parsing.dialect import ALEXEYAB, HANK_AI, PJREDDIE
    from darknet_torch.speed.optimized import optimize
    from darknet_torch.training.loop import train
    from darknet_torch.videos.detecting import video
    from darknet_torch.zoo import list_models

_HOMES = {
    "ALEXEYAB": "parsing.dialect",
    "Calibration": "exporters.calibration_options",
    "DarknetError": "errors",
    "Detections": "inference.detections",
    "HANK_AI": "parsing.dialect",
    "Network": "network",
    "PJREDDIE": "parsing.dialect",
    "SAMPLE": "files",
    "build": "loading",
    "classify": "inference.classifier",
    "detect": "inference.detector",
    "evaluate": "evaluation.evaluator",
    "export": "exporters.export",
    "list_cfgs": "loading",
    "list_models": "zoo",
    "load": "loading",
    "optimize": "speed.optimized",
    "parse_cfg": "loading",
    "plan": "loading",
    "save": "loading",
    "train": "training.loop",
    "verify": "exporters.verification",
    "video": "videos.detecting",
}

__all__ = [
    "ALEXEYAB",
    "HANK_AI",
    "PJREDDIE",
    "SAMPLE",
    "Calibration",
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
    "train",
    "verify",
    "video",
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
