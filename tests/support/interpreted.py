"""Run Triton's kernels in its interpreter, on the CPU, or compile them for cards that are not here.

    python tests/support/interpreted.py mixing|stem|split|placing|colours|compile

It prints JSON. A process of its own, as TRITON_INTERPRET must be set before Triton is imported.
"""

import json
import os
import sys
from contextlib import nullcontext

if __name__ == "__main__" and sys.argv[1] != "compile":
    os.environ["TRITON_INTERPRET"] = "1"

import torch
import torch.nn.functional as F

torch.cuda.device_of = lambda _: nullcontext()  # type: ignore[assignment,misc,return-value]

CARDS = (75, 80, 90)
"""Compute capabilities."""
STEMS = (
    (1, 2, 32, "leaky", 13, 18),
    (2, 1, 32, "mish", 17, 20),
    (1, 1, 16, "linear", 9, 9),
    (1, 2, 16, "swish", 7, 8),
    (2, 2, 16, "relu", 13, 11),
    (1, 1, 64, "logistic", 5, 6),
)
"""Stride, side of the pooling, filters, activation, height, width."""
SPLITS = (
    (3, 128, 48, 2, 7, 5, "leaky", 4),
    (3, 128, 80, 1, 13, 13, "mish", 1),
    (1, 256, 16, 3, 4, 6, "linear", 3),
    (3, 256, 32, 1, 1, 9, "swish", 7),
    (1, 128, 64, 1, 5, 5, "relu", 2),
    (3, 128, 32, 1, 3, 3, "logistic", 18),
)
"""Side of the kernel, channels, filters, images, height, width, activation, parts."""


def mixing() -> list[float]:
    """Return the largest difference from the images resized one by one, of some batches."""
    from darknet_torch.images import batch_resizing, mixing_kernel
    from darknet_torch.images.resizing import letterboxing, stretching

    found = []
    batch_resizing._mixer = lambda _: mixing_kernel.mix  # type: ignore[assignment]
    for fitting in (letterboxing, stretching):
        for channels in (3, 1):
            sizes = [(30, 20), (7, 40), (64, 64), (640, 9)]
            images = [torch.randint(0, 256, (channels, h, w), dtype=torch.uint8) for w, h in sizes]
            fits = [fitting(w, h, 133, 26) for w, h in sizes]
            got = batch_resizing.resize_batch(images, fits, torch.device("cpu"))
            want = [fit.apply(image) for fit, image in zip(fits, images, strict=True)]
            found.append(float((got - torch.stack(want)).abs().max()))
    return found


def stem() -> list[float]:
    """Return the largest difference from torch, relative to the largest value, of some layers."""
    import darknet_torch.speed.stem  # noqa: F401 (registers the operator)
    from darknet_torch.layers.activation import activate

    found = []
    for stride, pool, filters, activation, height, width in STEMS:
        x = torch.rand(2, 3, height, width).half()
        x = x.contiguous(memory_format=torch.channels_last)
        weight, bias = torch.randn(filters, 3, 3, 3).half(), torch.randn(filters)
        rows = weight.permute(2, 3, 1, 0).reshape(27, filters).contiguous()
        y = torch.ops.darknet_torch.stem(x, rows, bias, stride, pool, activation)
        want = F.conv2d(x.double(), weight.double(), bias.double(), stride=stride, padding=1)
        want = activate(activation, want)
        want = F.max_pool2d(want, pool, ceil_mode=True) if pool > 1 else want
        assert y.shape == want.shape
        found.append(float((y.double() - want).abs().max() / want.abs().max()))
    return found


def placing() -> list[float]:
    """Return the largest difference from images placed by torch's operations, of some batches."""
    import numpy as np

    from darknet_torch.training import image_kernel, placing
    from darknet_torch.training.augment import Geometry

    found, rng = [], np.random.default_rng(0)
    for channels in (3, 1, 3, 3):
        shapes = [(channels, *(int(side) for side in rng.integers(5, 40, 2))) for _ in range(4)]
        geometries, starts, parts, colours = [], [], [], []
        for _, height, width in shapes:
            left, top = (int(each) for each in rng.integers(-9, 4, 2))
            window = left, top, *(int(each) for each in rng.integers(12, 50, 2))
            target = *(float(each) for each in rng.uniform(-5, 9, 2)), *rng.uniform(3, 30, 2)
            aligned, flip, mean = (bool(each) for each in rng.integers(2, size=3))
            geometries.append(Geometry(window, target, flip, aligned, mean and aligned))
            rows, columns = (
                placing.span(start, length, size)[0]
                for start, length, size in ((top, window[3], height), (left, window[2], width))
            )
            starts.append(sum(map(len, parts)))
            count = (rows.stop - rows.start) * (columns.stop - columns.start)
            parts.append(rng.integers(0, 256, (count, channels), dtype=np.uint8))
            colours.append(
                [*rng.uniform(0, 255, channels)] if mean and aligned else [0.0] * channels
            )
        facts = placing.PlacingFacts.of(geometries, shapes, starts, colours, (21, 133))
        pixels = torch.from_numpy(np.concatenate(parts))
        mine = image_kernel.place(pixels, facts.table, (21, 133), placing.GREY_LEVEL)
        wanted = placing._placed_by_torch(pixels, facts, (21, 133))
        found.append(float((mine.int() - wanted.int()).abs().max()))
    assert placing._agree(image_kernel, torch.device("cpu"))
    return found


def colours() -> list[float]:
    """Return the largest difference from colours changed by torch's operations, of some images."""
    from darknet_torch.training import colour, image_kernel

    levels = torch.tensor((0, 1, 50, 51, 99, 100, 128, 200, 254, 255), dtype=torch.uint8)
    image = torch.stack(torch.meshgrid(levels, levels, levels, indexing="ij")).flatten(2)
    changes = torch.tensor(
        [(0.1, 1.5, 1.5), (0.07, 1 / 1.3, 1 / 1.4), (-0.1, 7, 1 / 3), (0, 0, 1), (0, 1, 1)]
    )
    images = image.expand(len(changes), -1, -1, -1)
    exact = colour.distort(images.float() / 255, *changes[:, :, None, None].unbind(1)) * 255
    assert colour._agree(image_kernel, torch.device("cpu"))
    changed = image_kernel.distort(images, changes)
    return (changed - exact).abs().flatten(1).amax(1).tolist()


def split() -> list[float]:
    """Return the largest difference from torch, relative to the largest value, of some layers."""
    from darknet_torch.layers.activation import activate
    from darknet_torch.speed.split_conv import CardTiles, Split, split_conv

    found = []
    for number, (size, channels, filters, batch, height, width, name, parts) in enumerate(SPLITS):
        x, weight = (
            torch.randn(batch, channels, height, width),
            torch.randn(filters, channels, size, size),
        )
        x, weight = (
            each.half().contiguous(memory_format=torch.channels_last) for each in (x, weight)
        )
        bias = 10 * torch.randn(filters).half()
        tiles = CardTiles(*((64, 32, 64, 4, 3), (32, 64, 128, 4, 3))[number % 2])
        y = split_conv(x, weight, bias, Split(tiles, parts), name)
        want = F.conv2d(x.double(), weight.double(), bias.double(), padding=size // 2)
        want = activate(name, want)
        assert y.shape == want.shape and y.is_contiguous(memory_format=torch.channels_last)
        found.append(float((y.double() - want).abs().max() / want.abs().max()))
    return found


def compiled() -> list[int]:
    """Return the sizes of the programs for some cards."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from darknet_torch.images import mixing_kernel
    from darknet_torch.speed import split_kernel, stem_kernel
    from darknet_torch.training import image_kernel

    sizes = "count height width conv_height conv_width in_height in_width".split()
    types = {"x": "*fp16", "weight": "*fp16", "bias": "*fp32", "y": "*fp16"}
    types |= dict.fromkeys(sizes, "i32")
    constants = {"filters": 32, "stride": 1, "pool": 2, "activation": "leaky", "block": 128}
    mixed = {"pixels": "*u8", "first": "*i32", "across": "*i32", "down": "*fp32"}
    mixed |= {"right": "*fp32", "out": "*fp32", "height": "i32", "width": "i32", "margin": "fp32"}
    placed = {"pixels": "*u8", "table": "*fp64", "out": "*u8"}
    placed |= dict.fromkeys(("height", "width", "grey", "entries"), "i32")
    changed = {"images": "*u8", "colours": "*fp32", "out": "*u8", "count": "i32"}
    summed = {"x": "*fp16", "weight": "*fp16", "sums": "*fp32"} | dict.fromkeys(
        "count height width channels filters size blocks".split(), "i32"
    )
    added = {"sums": "*fp32", "bias": "*fp16", "y": "*fp16", "count": "i32", "filters": "i32"}
    work = (
        (split_kernel._multiply, summed, {"m": 64, "n": 128, "k": 64}),
        (split_kernel._add, added, {"parts": 9, "activation": "mish", "block": 512}),
        (stem_kernel._compute, types, constants),
        (mixing_kernel._mix, mixed, {"channels": 3, "block": 128}),
        (image_kernel._place, placed, {"channels": 3, "block": 128}),
        (image_kernel._distort, changed, {"block": 128}),
    )
    found = []
    for capability in CARDS:
        for function, signature, constexprs in work:
            every = signature | dict.fromkeys(constexprs, "constexpr")
            source = ASTSource(fn=function, signature=every, constexprs=constexprs)
            program = triton.compile(source, target=GPUTarget("cuda", capability, 32))
            found.append(len(program.asm["cubin"]))
    return found


WORK = {
    "mixing": mixing,
    "stem": stem,
    "split": split,
    "placing": placing,
    "colours": colours,
    "compile": compiled,
}

if __name__ == "__main__":
    torch.manual_seed(0)
    sys.stdout.write(json.dumps(WORK[sys.argv[1]]()))
