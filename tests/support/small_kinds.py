"""Small networks of the kinds of detectors that people have: layers, heads and activations."""

import torch

import darknet_torch as dt
from darknet_torch.network import Network

__all__ = ["KINDS", "small_detector"]

NET = "[net]\nwidth=64\nheight=64\nchannels=3\n"
ANCHORS = "10,14, 20,24, 30,40, 34,20, 44,50, 60,30"


def conv(filters: int, activation: str = "leaky", *, size: int = 3, stride: int = 1) -> str:
    norm = "" if activation in ("linear", "logistic") else "batch_normalize=1\n"
    return (
        f"[convolutional]\n{norm}filters={filters}\nsize={size}\nstride={stride}\npad=1\n"
        f"activation={activation}\n"
    )


def yolo(mask: str, more: str = "", kind: str = "yolo") -> str:
    return f"[{kind}]\nmask={mask}\nanchors={ANCHORS}\nclasses=3\nnum=6\n{more}"


def pool(size: int, stride: int) -> str:
    return f"[maxpool]\nsize={size}\nstride={stride}\n"


GROUPS = "[route]\nlayers=-1\ngroups=2\ngroup_id=1\n"
UP = "[upsample]\nstride=2\n"
STEM = conv(8, stride=2) + conv(16, stride=2) + conv(16, stride=2)
CSP = STEM.replace("leaky", "mish")
V7 = STEM.replace("leaky", "swish")
KINDS = {
    "yolov2": STEM
    + pool(2, 2)
    + conv(16, "linear", size=1)
    + "[region]\nanchors=0.6,0.8, 1.2,1.9\nclasses=3\ncoords=4\nnum=2\nsoftmax=1\nbias_match=1\n",
    "yolov3-tiny": STEM
    + pool(2, 2)
    + pool(2, 1)
    + conv(24, "linear", size=1)
    + yolo("3,4,5")
    + "[route]\nlayers=-3\n"
    + UP
    + "[route]\nlayers=-1,2\n"
    + conv(24, "linear", size=1)
    + yolo("0,1,2"),
    "yolov4-tiny": STEM
    + GROUPS
    + conv(8)
    + "[route]\nlayers=-1,-2\n"
    + pool(2, 2)
    + conv(24, "linear", size=1)
    + yolo("3,4,5", "scale_x_y=1.05\nnms_kind=greedynms\nbeta_nms=0.6\n"),
    "yolov4-csp": CSP
    + conv(24, "logistic", size=1, stride=2)
    + yolo("3,4,5", "scale_x_y=2.0\nnew_coords=1\n"),
    "yolov7-tiny": V7
    + pool(5, 1)
    + "[route]\nlayers=-1,-2\n"
    + conv(24, "logistic", size=1, stride=2)
    + yolo("3,4,5", "scale_x_y=2.0\nnew_coords=1\n"),
    "gaussian": STEM + conv(36, "linear", size=1, stride=2) + yolo("3,4,5", kind="Gaussian_yolo"),
}
"""Kind -> the text of its cfg behind [net]."""


def small_detector(kind: str) -> Network:
    """Return a network of a kind, with random values that make some dozen detections."""
    torch.manual_seed(1)
    network = dt.build(NET + KINDS[kind], dialect="alexeyab")
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 4:
                torch.nn.init.kaiming_normal_(parameter)
    network.names = ("cat", "dog", "traffic light")
    return network.eval()
