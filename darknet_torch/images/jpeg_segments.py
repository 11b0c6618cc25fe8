"""The segments of a JPEG file: whether it is whole, and the file without those of EXIF."""

__all__ = ["is_whole", "without_exif"]

EXIF = 0xE1
"""Marker of the segments that hold EXIF and XMP data."""
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9


def is_whole(content: bytes) -> bool:
    """Return whether a JPEG file has an end after its last scan, so that it was not cut off."""
    scan, end = bytes((0xFF, START_OF_SCAN)), content.rfind(bytes((0xFF, END_OF_IMAGE)))
    # the first scan is soon found, and hardly anything stands behind the end
    return end >= 0 and content.find(scan, 0, end) >= 0 and content.find(scan, end) < 0


def without_exif(content: bytes) -> bytes | None:
    """Return a JPEG file without its EXIF data, by which some decoders turn an image.

    Args:
        content: of the file.

    Returns:
        The file; None if its segments are not one after the other up to the first scan.
    """
    kept, start = [content[:2]], 2
    while start + 4 <= len(content) and content[start] == 0xFF:
        marker = content[start + 1]
        if marker == START_OF_SCAN:
            return b"".join((*kept, content[start:]))
        end = start + 2 + int.from_bytes(content[start + 2 : start + 4])
        if not 0xC0 <= marker <= 0xFE or 0xD0 <= marker <= 0xD9 or end < start + 4:
            return None  # fill bytes, or markers without a length
        if marker != EXIF:
            kept.append(content[start:end])
        start = end
    return None
