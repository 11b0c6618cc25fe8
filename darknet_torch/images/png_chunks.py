"""The chunks of a PNG file that its pixels need; texts, profiles and the like are left out."""

from io import BytesIO
from typing import BinaryIO

__all__ = ["pixel_chunks"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf")
"""With eXIf, which has the orientation."""
CHUNK_FRAME = 12
"""Bytes of a chunk besides its content: length, type, checksum."""


def pixel_chunks(file: BinaryIO) -> BytesIO | None:
    """Return a PNG file without the chunks that its pixels do not need; None if it is no PNG.

    Pillow refuses a PNG for a text or a colour profile that is large or damaged; Darknet, whose
    reader passes over them, does not.

    Args:
        file: open for reading, at any position.
    """
    file.seek(0)
    if file.read(len(SIGNATURE)) != SIGNATURE:
        return None
    rest = BytesIO()
    rest.write(SIGNATURE)
    while len(head := file.read(8)) == 8:
        length, kind = int.from_bytes(head[:4]), head[4:]
        if kind in NEEDED:
            rest.write(head)
            rest.write(file.read(length + CHUNK_FRAME - 8))
        else:
            file.seek(length + CHUNK_FRAME - 8, 1)
    rest.seek(0)
    return rest
