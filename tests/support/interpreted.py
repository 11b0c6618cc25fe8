"""Run Triton's kernels in its interpreter, on the CPU, or compile them for cards that are not here.

    python tests/support/interpreted.py mixing|stem|compile

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


def compiled() -> list[int]:
    """Return the sizes of the programs for some cards."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from darknet_torch.images import mixing_kernel
    from darknet_torch.speed import stem_kernel

    sizes = "count height width conv_height conv_width in_height in_width".split()
    types = {"x": "*fp16", "weight": "*fp16", "bias": "*fp32", "y": "*fp16"}
    types |= dict.fromkeys(sizes, "i32")
    constants = {"filters": 32, "stride": 1, "pool": 2, "activation": "leaky", "block": 128}
    mixed = {"pixels": "*u8", "first": "*i32", "across": "*i32", "down": "*fp32"}
    mixed |= {"right": "*fp32", "out": "*fp32", "height": "i32", "width": "i32", "margin": "fp32"}
    work = (
        (stem_kernel._compute, types, constants),
        (mixing_kernel._mix, mixed, {"channels": 3, "block": 128}),
    )
    found = []
    for capability in CARDS:
        for function, signature, constexprs in work:
            every = signature | dict.fromkeys(constexprs, "constexpr")
            source = ASTSource(fn=function, signature=every, constexprs=constexprs)
            program = triton.compile(source, target=GPUTarget("cuda", capability, 32))
            found.append(len(program.asm["cubin"]))
    return found


if __name__ == "__main__":
    torch.manual_seed(0)
    sys.stdout.write(
        json.dumps({"mixing": mixing, "stem": stem, "compile": compiled}[sys.argv[1]]())
    )
