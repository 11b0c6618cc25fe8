"""What `optimize` does to single layers, and to boxes; `tools/bench.py layers boxes` runs this."""

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from bench_figures import keep
from bench_turns import in_turns

if TYPE_CHECKING:
    from darknet_torch.network import Runnable

Type = Literal["float32", "bfloat16"]
SHARED = Path(__file__).resolve().parents[2] / "shared"
LAYERS = (
    (64, 64, 104),
    (64, 128, 104),
    (64, 64, 52),
    (128, 128, 52),
    (128, 256, 52),
    (128, 128, 26),
    (256, 256, 26),
    (384, 256, 26),
    (256, 512, 13),
    (512, 512, 13),
    (1024, 1024, 13),
    (512, 512, 19),
)
"""Channels before and behind a 3 x 3 convolution, and the side of its map."""
REAL = ("yolo-fastest-1.1", "mobilenetv2-nano-coco", "yoloface-50k", "yolo-lite-voc-trial3")
"""Models of ../shared/models; yolov4-tiny comes before them."""
ROUNDS = 15
THRESHOLD = 0.3
NEAR = (0.02, 0.98)
"""Largest difference of probability, and least overlap, of a box that stayed where it was."""


def bench_layers(_: argparse.Namespace) -> None:
    """Time and error of Winograd's convolutions, as multiples of those of the plain product."""
    import torch

    from darknet_torch.speed.winograd import F2, F4

    hows = {"F2": F2, "F4": F4}
    print("| layer | computed in | compiled | " + " | ".join(f"{h}: time, error" for h in hows))
    print("|---|---|---|" + "---|" * len(hows))
    for channels, filters, side in LAYERS:
        for name in _types():
            for compiled in (False, True):
                row = _layer(channels, filters, side, getattr(torch, name), compiled, hows)
                print(f"| {channels} to {filters} at {side} | {name} | {compiled} | {row} |")


def _types() -> list[Type]:
    """Return what the processor multiplies, of the types that matter."""
    import torch

    from darknet_torch.speed.onednn import computes_natively

    cpu, names = torch.device("cpu"), get_args(Type)
    return [name for name in names if computes_natively(cpu, getattr(torch, name))]


def _layer(
    channels: int, filters: int, side: int, dtype: Any, compiled: bool, hows: dict[str, Any]
) -> str:
    import torch
    import torch.nn.functional as F

    from darknet_torch.layers.base import Shape
    from darknet_torch.layers.blocks import ConvBlock
    from darknet_torch.parsing.dialect import ALEXEYAB
    from darknet_torch.speed.inductor import compiled_for
    from darknet_torch.speed.packed_layers import PackedConvBlock
    from darknet_torch.speed.winograd import WinogradConv

    torch.manual_seed(0)
    options: dict[str, Any] = {"dialect": ALEXEYAB, "activation": "leaky", "padding": 1}
    block = ConvBlock(channels, filters, 3, **options).eval()
    torch.nn.init.normal_(block.conv.weight, std=(2 / 9 / channels) ** 0.5)
    x = F.leaky_relu(torch.randn(1, channels, side, side), 0.1).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        want = F.leaky_relu(block.conv.double()(x.double()), 0.1)
        block.float()
        shape = Shape(channels, side, side)
        runs: dict[str, Any] = {"plain": PackedConvBlock(block, (1, *shape), dtype)}
        runs |= {name: WinogradConv(block, how, shape, dtype) for name, how in hows.items()}
        if compiled:
            runs = {name: compiled_for(run, x) for name, run in runs.items()}
        outputs = {name: run(x)[0] if compiled else run(x) for name, run in runs.items()}
        errors = {name: float((y - want).square().mean().sqrt()) for name, y in outputs.items()}
        seconds = in_turns(
            {name: partial(run, x) for name, run in runs.items()}, ROUNDS, warm=0, twice=True
        )
    ratios = [(seconds[n] / seconds["plain"], errors[n] / errors["plain"]) for n in hows]
    return " | ".join(f"{time_:.2f}, {error:.1f}" for time_, error in ratios)


def bench_boxes(options: argparse.Namespace) -> None:
    """How far boxes move from where the plain network has them, before NMS."""
    import darknet_torch as dt

    folders = ("photos", "datasets/coco128/images")
    images = {name: sorted(SHARED.joinpath(name).rglob("*.jpg")) for name in folders}
    if not all(images.values()):
        print("boxes: the photos (../shared) are not here")
        return
    for name in ("yolov4-tiny", *REAL):
        network = dt.load(name) if name == "yolov4-tiny" else _real(name)
        for dtype in _types():
            for compiled in (False, True):
                fast = dt.optimize(network, dtype=dtype, compile=compiled)
                for where, paths in images.items():
                    moved = _moved(network, fast, paths)
                    way = "compiled" if compiled else "compile=False"
                    what = f"{name}, {dtype}, {way}, {where.rpartition('datasets/')[2]}"
                    print(f"{what}: {', '.join(f'{k} {v:.4g}' for k, v in moved.items())}")
                    keep(options, "boxes", what.removesuffix("/images"), "", moved)


def _real(name: str) -> "Runnable":
    import darknet_torch as dt

    folder = SHARED / "models" / name
    (cfg,), (weights,) = (list(folder.glob(f"*.{end}")) for end in ("cfg", "weights"))
    return dt.load(cfg, weights)


def _moved(network: "Runnable", fast: "Runnable", paths: list[Path]) -> dict[str, float]:
    """Return how many boxes there are, how many moved by a difference that counts, and how far."""
    import torch

    from darknet_torch.heads.boxes import iou
    from darknet_torch.inference.detector import Detector

    moves = []
    before, after = (
        Detector(each, threshold=THRESHOLD, nms=0).stream(paths) for each in (network, fast)
    )
    for want, got in ((a.result, b.result) for a, b in zip(before, after, strict=True)):
        assert want is not None
        assert got is not None
        for number in (want.score > THRESHOLD + NEAR[0]).nonzero()[:, 0].tolist():
            same = got.class_id == want.class_id[number]
            if not same.any():
                moves.append((1.0, 0.0))
                continue
            overlaps = iou(want.xyxy[number], got.xyxy[same])
            score = got.score[same][overlaps.argmax()]
            moves.append((float((score - want.score[number]).abs()), float(overlaps.max())))
    probability, overlap = torch.tensor(moves or [(0.0, 1.0)]).unbind(dim=1)
    far = (probability >= NEAR[0]) | (overlap <= NEAR[1])
    return {
        "boxes": len(moves),
        "that moved": int(far.sum()),
        "probability, most": float(probability.max()),
        "IoU, least": float(overlap.min()),
    }
