"""Files that are not what they are taken for: the error says what they are, and what helps."""

import zipfile
from pathlib import Path

import pytest
from small_network import CFG

import darknet_torch as dt
from darknet_torch.errors import CfgError, ImageError, WeightsError
from darknet_torch.images.reading import read
from darknet_torch.safety.foreign_files import HEIF_IMAGE, known_kind

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 12\n"
PAGE = b"\n<!DOCTYPE html><html><head><title>Virus scan warning</title></head></html>"
OTHERS = {
    "a pointer of Git LFS; `git lfs pull` fetches the file itself": POINTER,
    "a web page; download it again": PAGE,
    "a gzip archive; unpack it first": b"\x1f\x8b\x08\x00" + bytes(40),
    "an HDF5 file, as Keras writes it": b"\x89HDF\r\n\x1a\n" + bytes(40),
    "a video; `darknet-torch video` reads it": b"\0\0\0\x18ftypisom" + bytes(40),
}


@pytest.mark.parametrize(("kind", "content"), OTHERS.items())
def test_weights_cfgs_and_images(kind: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    assert known_kind(content) == kind
    with pytest.raises(WeightsError) as weights:
        dt.load(CFG, path)
    assert str(weights.value) == f"{path}: is no weights file, but {kind}"
    with pytest.raises(CfgError) as cfg:
        dt.build(path)
    assert str(cfg.value) == f"{path}: is {kind}"
    with pytest.raises(ImageError) as image:
        read(path)
    assert str(image.value) == f"{path}: is no image, but {kind}"


def test_archives(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.weights", "w") as archive:
        archive.writestr("x.weights", bytes(1000))
    with pytest.raises(WeightsError, match=r"but a zip archive, or a checkpoint of PyTorch, whose"):
        dt.load(CFG, tmp_path / "x.weights")


@pytest.mark.parametrize("start", [b"", b"BZhang/1.jpg", b"\xff\xd8\xff\xe0", b"\0\0\0\1ftypavif"])
def test_files_that_may_be_what_they_are_taken_for(start: bytes) -> None:
    assert known_kind(start + bytes(32)) is None
    assert known_kind(b"\0\0\0\x18ftypheic" + bytes(20)) == HEIF_IMAGE
