"""Files that are not what they are taken for: web pages, archives, pointers of Git LFS."""

__all__ = ["HEIF_IMAGE", "known_kind"]

_VIDEO = "a video; `darknet-torch video` reads it"
_KINDS = {
    b"version https://git": "a pointer of Git LFS; `git lfs pull` fetches the file itself",
    b"<!doctype html": "a web page; download it again",
    b"<html": "a web page; download it again",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"PK\3\4": "a zip archive, or a checkpoint of PyTorch, whose ending is .pt",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
    b"Rar!\x1a\7": "a RAR archive; unpack it first",
    b"BZh91AY": "a bzip2 archive; unpack it first",
    b"\xfd7zXZ": "an xz archive; unpack it first",
    b"\x89HDF": "an HDF5 file, as Keras writes it",
    b"%PDF": "a PDF document",
    b"\x1aE\xdf\xa3": _VIDEO,
}
"""How files begin that are often taken for others -> what they are, and what helps."""
HEIF_IMAGE = "an image in HEIF, as telephones write them"
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""What stands behind `ftyp` in such an image."""


def known_kind(start: bytes) -> str | None:
    """Return what a file is that is often taken for another, and what helps; None of others.

    Args:
        start: its first bytes, 20 or more.
    """
    if start[4:8] == b"ftyp" and start[8:12] != b"avif":
        return HEIF_IMAGE if start[8:12] in _HEIF_BRANDS else _VIDEO
    start = start.lower().lstrip()
    return next((kind for key, kind in _KINDS.items() if start.startswith(key.lower())), None)
