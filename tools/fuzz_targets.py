"""What tools/fuzz_guided.py feeds with bytes: one function for each kind of file that is read.

A target takes bytes, as a file of somebody else would have them, and a folder to work in. Only
DarknetErrors are expected, and caught by the caller.
"""

import functools
import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch

import darknet_torch as dt
from darknet_torch.data import read as read_data
from darknet_torch.evaluation.cache import decode
from darknet_torch.images.reading import read as read_image
from darknet_torch.inference.converted import Converted
from darknet_torch.inference.metadata import read_origin
from darknet_torch.network import Network
from darknet_torch.network.checkpoint_file import read as read_checkpoint
from darknet_torch.network.origin import Origin
from darknet_torch.parsing import parser
from darknet_torch.zoo.package_index import unpack

__all__ = ["TARGETS", "seeds"]

CFG = """[net]
width=32
height=32
channels=3
[convolutional]
batch_normalize=1
filters=7
size=3
stride=8
pad=1
activation=leaky
[yolo]
mask=0
anchors=10,14
classes=2
num=1
"""
SMALL = 200_000
"""Values of the plans that are built: larger ones are only planned."""
Target = Callable[[bytes, Path], object]


@functools.cache
def network() -> Network:
    """A small detector, which the targets fill and never change otherwise."""
    torch.manual_seed(0)
    return dt.build(CFG)


def small(path: Path) -> bool:
    """Whether the cfg inside a file, if it is one, promises a small network."""
    origin = read_origin(path)
    if not origin.has_cfg:
        return False
    plan = dt.plan(origin.cfg, dialect=origin.dialect)
    return plan.floats + plan.input.size + sum(node.shape.size for node in plan) < SMALL


def cfg(content: bytes, folder: Path) -> None:
    path = folder / "x.cfg"
    path.write_bytes(content)
    plan = dt.plan(path)
    if plan.floats + plan.input.size + sum(node.shape.size for node in plan) < SMALL:
        built = dt.build(path)
        if not built.plan.input.is_vector:
            with torch.inference_mode():
                built(torch.zeros(1, *built.plan.input))


def weights(content: bytes, folder: Path) -> None:
    (folder / "x.weights").write_bytes(content)
    dt.load(CFG, folder / "x.weights", partial=bool(content[-1:] == b"\1"))


def checkpoint(ending: str, content: bytes, folder: Path) -> None:
    path = folder / f"x{ending}"
    path.write_bytes(content)
    read_checkpoint(dt.build(CFG), path)


def pickled(content: bytes, folder: Path) -> None:
    """The bytes are the pickle inside an archive of torch.save, which a checksum would hide."""
    path = folder / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for name, member in {"data.pkl": content, "version": b"3\n", "data/0": bytes(64)}.items():
            archive.writestr(f"x/{name}", member)
    read_checkpoint(dt.build(CFG), path)


def image(content: bytes, folder: Path) -> None:
    path = folder / "x.jpg"
    path.write_bytes(content)
    read_image(path, max_pixels=1 << 20)


def data(name: str, content: bytes, folder: Path) -> None:
    """A data set, one of whose files the bytes are."""
    for each, text in FILES.items():
        (folder / each).parent.mkdir(exist_ok=True)
        (folder / each).write_bytes(text)
    (folder / name).write_bytes(content)
    (folder / "images" / "a.png").write_bytes(PNG)
    source = folder / (name if "/" not in name else "images")
    read_data(source, workers=1, format="voc" if name.endswith(".xml") else None)


def onnx_file(content: bytes, folder: Path) -> None:
    path = folder / "x.onnx"
    path.write_bytes(content)
    if small(path):
        run = dt.load(path, engine="onnxruntime")
        dt.detect(run, torch.zeros(3, 16, 16, dtype=torch.uint8))


def openvino_file(content: bytes, folder: Path) -> None:
    path = folder / "x.xml"
    path.write_bytes(content)
    path.with_suffix(".bin").write_bytes(_openvino()[1])
    if small(path):
        run = dt.load(path, engine="openvino")
        dt.detect(run, torch.zeros(3, 16, 16, dtype=torch.uint8))


def metadata(content: bytes, folder: Path) -> None:
    """Key, value, key, value ..., beside a file that is right otherwise."""
    words = content.decode("utf-8", "replace").split("\0")
    texts = {**Origin.of(network()).to_text(), **dict(zip(words[::2], words[1::2], strict=False))}
    origin = Origin.from_text(texts, "x.onnx")
    if origin.has_cfg:
        plan = dt.plan(origin.cfg, dialect=origin.dialect)
        path = folder / "x.onnx"
        path.write_bytes(_onnx())
        if plan.input == network().plan.input:
            run = Converted(path, plan, origin.names, "onnxruntime", origin)
            dt.detect(run, torch.zeros(3, 16, 16, dtype=torch.uint8))


def program(content: bytes, folder: Path) -> None:
    """Files of torch are read for their metadata alone."""
    for name in ("x.pt2", "x.aoti.pt2", "x.ts"):
        path = folder / name
        path.write_bytes(content)
        read_origin(path)


def archive(ending: str, content: bytes, folder: Path) -> None:
    path = folder / f"x{ending}"
    path.write_bytes(content)
    unpack(path, "x/x.weights", folder / "part", (100,))


def cache_lines(content: bytes, _: Path) -> None:
    list(decode(content.decode("utf-8", "replace").splitlines(keepends=True)))


def names(content: bytes, folder: Path) -> None:
    (folder / "x.names").write_bytes(content)
    parser.read_names(folder / "x.names")


TARGETS: dict[str, Target] = {
    "cfg": cfg,
    "weights": weights,
    "safetensors": functools.partial(checkpoint, ".safetensors"),
    "pt": functools.partial(checkpoint, ".pt"),
    "pickle": pickled,
    "image": image,
    "labels": functools.partial(data, "labels/a.txt"),
    "voc": functools.partial(data, "labels/a.xml"),
    "coco": functools.partial(data, "x.json"),
    "yaml": functools.partial(data, "x.yaml"),
    "data": functools.partial(data, "x.data"),
    "names": names,
    "onnx": onnx_file,
    "openvino": openvino_file,
    "metadata": metadata,
    "program": program,
    "wheel": functools.partial(archive, ".whl"),
    "sdist": functools.partial(archive, ".tar.gz"),
    "cache": cache_lines,
}
"""Name of a target -> what reads the bytes."""


# ---- seeds: what is right, for the fuzzer to begin with


def _png() -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.effect_noise((16, 12), 60).convert("RGB").save(stream, "PNG")
    return stream.getvalue()


PNG = _png()
FILES: dict[str, bytes] = {
    "images/a.png": PNG,
    "labels/a.txt": b"0 0.5 0.5 0.25 0.25\n1 0.1 0.1 0.2 0.2\n",
    "labels/a.xml": b"<annotation><size><width>16</width><height>12</height></size><object>"
    b"<name>ant</name><difficult>0</difficult><bndbox><xmin>3</xmin><ymin>4</ymin><xmax>9</xmax>"
    b"<ymax>11</ymax></bndbox></object></annotation>",
    "x.json": json.dumps(
        {
            "images": [{"id": 5, "file_name": "images/a.png", "width": 16, "height": 12}],
            "categories": [{"id": 3, "name": "ant"}],
            "annotations": [{"id": 1, "image_id": 5, "category_id": 3, "bbox": [1, 2, 3.5, 4]}],
        }
    ).encode(),
    "x.yaml": b"path: .\nval: images\nnames: {0: ant, 1: bee}\n",
    "x.data": b"classes=2\nvalid=x.list\nnames=x.names\n",
    "x.list": b"images/a.png\n",
    "x.names": b"ant\nbee\n",
}


def _written(name: str, **options: object) -> bytes:
    """A file that `export` writes of the small network."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        dt.export(network(), path, **options)  # type: ignore[arg-type]
        return path.read_bytes()


@functools.cache
def _onnx() -> bytes:
    return _written("x.onnx", contents="boxes")


@functools.cache
def _openvino() -> tuple[bytes, bytes]:
    """The .xml and the .bin."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.xml"
        dt.export(network(), path)
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()


def _wheel() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x/x.weights", b"12345" * 20)
    return stream.getvalue()


def _sdist() -> bytes:
    import tarfile

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as file:
        info = tarfile.TarInfo("x/x.weights")
        info.size = 100
        file.addfile(info, io.BytesIO(b"12345" * 20))
    return stream.getvalue()


def _images() -> list[bytes]:
    from PIL import Image

    made = []
    for form in ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "TGA", "PCX", "JPEG2000"):
        stream = io.BytesIO()
        Image.effect_noise((9, 7), 60).convert("RGB").save(stream, form)
        made.append(stream.getvalue())
    return made


def _pickle() -> bytes:
    stream = io.BytesIO()
    torch.save({"model": {"w": torch.zeros(16)}}, stream)
    with zipfile.ZipFile(stream) as file:
        return file.read(next(each for each in file.namelist() if each.endswith("data.pkl")))


def seeds(target: str) -> list[bytes]:
    """Return files of a target that are right."""
    made: dict[str, Callable[[], list[bytes]]] = {
        "cfg": lambda: [CFG.encode(), *_published_cfgs()],
        "weights": lambda: [_written("x.weights"), struct.pack("<iiiQ", 0, 2, 5, 0)],
        "safetensors": lambda: [_written("x.safetensors")],
        "pt": lambda: [_written("x.pt")],
        "pickle": lambda: [_pickle()],
        "image": _images,
        "labels": lambda: [FILES["labels/a.txt"]],
        "voc": lambda: [FILES["labels/a.xml"]],
        "coco": lambda: [FILES["x.json"]],
        "yaml": lambda: [FILES["x.yaml"]],
        "data": lambda: [FILES["x.data"]],
        "names": lambda: [FILES["x.names"]],
        "onnx": lambda: [_onnx(), _written("x.onnx", contents="detections")],
        "openvino": lambda: [_openvino()[0]],
        "metadata": _metadata,
        "program": lambda: [_written("x.ts"), _written("x.pt2")],
        "wheel": lambda: [_wheel()],
        "sdist": lambda: [_sdist()],
        "cache": lambda: [b'{"picture":1,"error":null,"rows":[[1,0.5,2,3,4,5]]}\n'],
    }
    return made[target]()


def _metadata() -> list[bytes]:
    _onnx()  # the file that they are beside is made before the time of an input is measured
    texts = Origin.of(network(), contents="boxes").to_text()
    return ["\0".join(f"{key}\0{text}" for key, text in texts.items()).encode()]


def _published_cfgs() -> list[bytes]:
    folder = Path(__file__).resolve().parents[1] / "cfg"
    return [
        path.read_bytes() for path in sorted(folder.glob("*.cfg")) if path.stat().st_size < 3000
    ]
