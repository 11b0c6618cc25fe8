"""Random cfgs and damaged weights for tools/fuzz.py.

A cfg is a mutation of the pieces of cfg/*.cfg, or sections with random options. It is planned; a
small plan is also built, computed, saved, and loaded again from a damaged file.
"""

import random
import re
import struct
from dataclasses import fields
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

import darknet_torch as dt
from darknet_torch.errors import DarknetError
from darknet_torch.layers.base import Shape
from darknet_torch.layers.registry import registered
from darknet_torch.network import Network
from darknet_torch.network.net_section import Net
from darknet_torch.network.plan import Plan
from darknet_torch.parsing.dialect import DIALECTS, Dialect

CFGS = Path(__file__).resolve().parents[1] / "cfg"
MAX_SECTIONS = 30
SMALL = 200_000  # floats, and values of all outputs together: what is built and computed
NUMBERS = (
    "0 1 2 3 4 5 7 8 16 21 24 30 32 33 255 1000 -1 -2 -3 -4 -7 -100 65536 2147483647 -2147483648"
    " 99999999999 4294967297 0.5 -0.5 1e3 1e30 1e39 -1e-30 .1 nan inf 0x10 1#2 3.9 abc"
).split()


@cache
def pieces() -> tuple[str, ...]:
    """All sections of the cfgs of the package, made small."""
    found: set[str] = set()
    for path in sorted(CFGS.glob("*.cfg")):
        lines = path.read_text().splitlines()
        starts = [n for n, line in enumerate(lines) if line.startswith("[")] + [len(lines)]
        for first, last in pairwise(starts):
            found.add("\n".join(line for line in lines[first:last] if line.strip()))
    return tuple(sorted(found))


@cache
def options() -> dict[str, tuple[str, ...]]:
    """The options of every section."""
    found = {
        name: {
            field.metadata["key"] or field.name
            for cls, _ in entries
            for field in fields(cls)
            if "key" in field.metadata
        }
        for name, entries in registered().items()
    }
    found["net"] = {field.name for field in fields(Net) if "key" in field.metadata}
    return {name: tuple(sorted(keys)) for name, keys in sorted(found.items())}


@cache
def known(dialect: Dialect) -> tuple[str, ...]:
    """The sections of a fork that are layers."""
    return tuple(
        name
        for name, entries in sorted(registered().items())
        if name not in dialect.lacks and any(dialect.knows(only) for _, only in entries)
    )


WORDS: dict[str, tuple[str, ...]] = {
    "activation": tuple(sorted(DIALECTS["alexeyab"].activations)),
    "weights_type": ("none", "per_layer", "per_feature", "per_channel"),
    "weights_normalization": ("none", "relu", "softmax"),
    "nms_kind": ("default", "greedynms", "diounms"),
    "yolo_point": ("center", "left_top", "right_bottom"),
    "tree": ("no.tree", "x" * 300, "/", "..", "cfg"),
    "map": ("no.map", "coco.names"),
}


def value(key: str, rng: random.Random) -> str:
    if key in WORDS and rng.random() < 0.9:
        return rng.choice(WORDS[key])
    if rng.random() < 0.6:
        return str(rng.randint(-1, 4))
    if key in ("layers", "from", "mask", "anchors", "steps", "scales") or rng.random() < 0.1:
        return ",".join(rng.choice(NUMBERS[:20]) for _ in range(rng.randint(0, 5)))
    return rng.choice(NUMBERS)


def section(rng: random.Random, dialect: Dialect) -> str:
    """A section with any options."""
    name = rng.choice(known(dialect) if rng.random() < 0.9 else tuple(options()))
    keys = rng.choices(options()[name], k=rng.randint(0, 6)) if options()[name] else []
    wanted = {"shortcut": "from", "route": "layers", "sam": "from", "scale_channels": "from"}
    keys = [wanted[name], *keys] if name in wanted and rng.random() < 0.9 else keys
    return "\n".join([f"[{name}]", *(f"{key}={value(key, rng)}" for key in keys)])


PLAUSIBLE: dict[str, tuple[str, ...]] = {
    "filters": ("1", "2", "4", "6"),
    "output": ("1", "2", "5"),
    "size": ("1", "2", "3", "5"),
    "stride": ("1", "1", "2"),
    "stride_x": ("1", "2"),
    "stride_y": ("1", "2"),
    "pad": ("0", "1"),
    "padding": ("0", "1", "2"),
    "groups": ("1", "2"),
    "group_id": ("0", "1"),
    "dilation": ("1", "2"),
    "antialiasing": ("0", "1", "2"),
    "from": ("-2", "-3", "0", "-2,-3", "0,1"),
    "layers": ("-1", "-2", "-1,-2", "0", "-1,-3", "0,-1,-2"),
    "share_index": ("0", "-1", "-2"),
    "classes": ("1", "2"),
    "num": ("1", "2"),
    "out_channels": ("1", "2"),
    "crop_width": ("1", "2", "4"),
    "crop_height": ("1", "2", "4"),
    "coords": ("4",),
    "side": ("1", "2"),
    "temperature": ("1", "2"),
    "numload": ("0", "1", "2"),
}
NO_OPTION = re.compile("thresh|jitter|normalizer|stream|scale$|tree|map|mask|learn|clip|loss|kind")


def plausible(rng: random.Random, dialect: Dialect) -> str:
    """A section that may well fit where it stands."""
    name = rng.choice(known(dialect))
    keys = [key for key in options()[name] if not NO_OPTION.search(key)]
    keys = rng.sample(keys, min(len(keys), rng.randint(0, 4)))
    wanted = {"shortcut": "from", "route": "layers", "sam": "from", "scale_channels": "from"}
    keys += [wanted[name]] if name in wanted and wanted[name] not in keys else []
    pairs = ((key, PLAUSIBLE.get(key) or WORDS.get(key) or ("0", "1", "1", "2")) for key in keys)
    lines = [f"[{name}]", *(f"{key}={rng.choice(words)}" for key, words in pairs)]
    if name in ("yolo", "region", "Gaussian_yolo"):  # what fits is rare, so it is put before
        filters = {"yolo": 6, "region": 6, "Gaussian_yolo": 10}[name]
        lines = ["[convolutional]", f"filters={filters}", f"[{name}]", "classes=1", "num=1"]
    return "\n".join(lines)


def net(rng: random.Random, dialect: Dialect) -> str:
    if rng.random() < 0.03:
        return section(rng, dialect)
    if rng.random() < 0.1:
        return f"[net]\ninputs={rng.choice((1, 5, 16, 100))}"
    sizes = (1, 2, 3, 4, 6, 8, 13, 16, 32)
    width, height = rng.choice(sizes), rng.choice(sizes)
    return f"[net]\nwidth={width}\nheight={height}\nchannels={rng.choice((1, 2, 3, 4, 8))}"


def mutated(text: str, rng: random.Random) -> str:
    """Change a line, a number, or letters."""
    lines = text.split("\n")
    place = rng.randrange(len(lines))
    kind = rng.randrange(7)
    if kind == 0:
        del lines[place]
    elif kind == 1:
        lines.insert(place, lines[rng.randrange(len(lines))])
    elif kind in (2, 3) and "=" in lines[place]:
        key = lines[place].partition("=")[0].strip()
        lines[place] = f"{key}={value(key, rng)}"
    elif kind == 4:
        lines[place] = lines[place].replace("=", rng.choice(("", "==", " = ", "=#", "=-")))
    elif kind == 5:
        where = rng.randint(0, len(lines[place]))
        letter = rng.choice("[]=#;,.-0123456789 \t\0\x0b\ufeff\u0663\udcfcé" + "abcdefgh")
        lines[place] = lines[place][:where] + letter + lines[place][where + rng.randint(0, 1) :]
    else:
        other = rng.randrange(len(lines))
        lines[place], lines[other] = lines[other], lines[place]
    return "\n".join(lines)


def piece(rng: random.Random, _: Dialect) -> str:
    """A section of a published network."""
    return rng.choice(pieces())


def make_cfg(rng: random.Random, dialect: Dialect) -> str:
    """Sections that may fit, or any, or published ones, then some mutations."""
    count = rng.choice((1, 1, 2, 3, 4, 5, 8, MAX_SECTIONS - 1))
    makers = rng.choice(
        ((plausible,), (plausible,), (plausible, section), (section,), (piece,), (piece, plausible))
    )
    text = (
        "\n".join([net(rng, dialect), *(rng.choice(makers)(rng, dialect) for _ in range(count))])
        + "\n"
    )
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 10))):
        text = mutated(text, rng)
    return text + "\n" if "\n" not in text else text


# ---- weights


def damaged(content: bytes, rng: random.Random) -> bytes:
    """The bytes of a weights file with something wrong (or nothing)."""
    kind = rng.randrange(8)
    if kind == 0:
        return content
    if kind == 1:
        return content[: rng.randint(0, len(content))]
    if kind == 2:
        return content + rng.randbytes(rng.choice((1, 3, 4, 8, 400)))
    if kind == 3:
        return rng.randbytes(rng.choice((0, 1, 12, 16, 19, 20, 24, len(content))))
    version = (rng.choice((0, 0, 1, 2, 5, 1000, 1001, -1, 2**31 - 1)) for _ in range(3))
    head = struct.pack("<iiiQ", *version, rng.getrandbits(64))
    if kind == 4:
        return head[: rng.choice((16, 20))] + content[20:]
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(changed)) if kind == 5 else rng.randrange(min(20, len(changed)))
        changed[place] = rng.randrange(256)
    if kind == 7:
        bad = rng.choice((float("nan"), float("inf"), -1.0, 3e38, -1e-40))
        place = 4 * rng.randrange(len(changed) // 4)
        changed[place : place + 4] = struct.pack("<f", bad)
    return bytes(changed)


# ---- one case


def is_small(plan: Plan) -> bool:
    tensors = sum(tensor.count for node in plan for tensor in node.tensors)
    values = plan.input.size + sum(node.shape.size for node in plan)
    return tensors <= SMALL and values <= SMALL


def compute(network: Network) -> None:
    """Run the network; every output must have the shape that was planned."""
    shape = network.plan.input
    size = (1, shape.c) if shape.is_vector else (1, *shape)
    with torch.inference_mode():
        outputs = network.activations(torch.zeros(size))
    for node, out in zip(network.plan, outputs, strict=True):
        flat = node.shape.is_vector
        found = Shape(out.shape[1]) if flat and out.dim() == 2 else Shape(*out.shape[1:])
        # Darknet's [region] keeps its floats in another order, under the same shape
        if found != node.shape:
            raise AssertionError(f"layer {node.index} [{node.name}]: {found}, planned {node.shape}")


def run_case(cfg: str, dialect: Dialect, rng: random.Random, folder: Path) -> str:
    """Return how far the case came; DarknetErrors are caught, all else goes through."""
    mode: Any = rng.choice(("normal", "normal", "normal", "darknet", "darknet", "strict"))
    stage = "plan"
    try:
        plan = dt.plan(cfg, dialect=dialect, mode=mode)
        stage = "planned"
        if rng.random() < 0.2 and not plan.input.is_vector:
            plan.resized(rng.randint(1, 40), rng.randint(1, 40))
        if not is_small(plan):
            return "large"
        network = dt.build(cfg, dialect=dialect, mode=mode)
        stage = "built"
        compute(network)
        stage = "computed"
        dt.save(network, folder / "a.weights")
        content = (folder / "a.weights").read_bytes()
        if len(content) != 20 + 4 * plan.floats:
            raise AssertionError(f"{len(content)} bytes for {plan.floats} floats")
        (folder / "b.weights").write_bytes(damaged(content, rng))
        cutoff = rng.choice((None, None, None, 0, 1, len(plan), len(plan) + 1))
        dt.load(
            cfg,
            folder / "b.weights",
            dialect=dialect,
            mode=mode,
            cutoff=cutoff,
            partial=rng.random() < 0.3,
        )
        stage = "loaded"
    except DarknetError as error:
        message = str(error)
        if "\n" in message or len(message) > 4000:
            raise AssertionError(
                f"a message of {len(message)} letters: {message[:300]!r}"
            ) from error
        message.encode()
        return f"error after {stage}" if stage != "plan" else "error"
    return stage
