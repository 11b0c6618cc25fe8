"""The size of a picture, from its header."""

from pathlib import Path

from PIL import Image, UnidentifiedImageError

from darknet_torch.errors import DataError

__all__ = ["ABSENT", "picture_size"]

ABSENT = (FileNotFoundError, NotADirectoryError)
_ORIENTATION = 0x0112
_ON_ITS_SIDE = {5, 6, 7, 8}


def picture_size(path: Path, verify: bool = False) -> tuple[int, int]:
    """(width, height) in pixels, turned as the picture's EXIF note says.

    verify: decode the whole picture as `image.read` does, instead of only its header.
    Raises one of ABSENT, or DataError: damaged, or more pixels than PIL.Image.MAX_IMAGE_PIXELS.
    """
    if verify:
        return _decoded(path)
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            # Image's own method: that of PNG decodes all pixels to look behind them
            turned = Image.Image.getexif(picture).get(_ORIENTATION) in _ON_ITS_SIDE
            turned = turned and picture.format != "TIFF"  # turned already
    except ABSENT:
        raise
    except Exception as error:  # a damaged file makes a decoder raise nearly anything
        raise DataError(_reason(error)) from error
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        what = f"{width}x{height} pixels are more than PIL.Image.MAX_IMAGE_PIXELS ({limit})"
        raise DataError(what)
    return (height, width) if turned else (width, height)


def _decoded(path: Path) -> tuple[int, int]:
    # torch is imported only by those who decode
    from darknet_torch.errors import ImageError
    from darknet_torch.image import read

    try:
        shape = read(path).shape
    except ImageError as error:
        if isinstance(error.__cause__, ABSENT):
            raise error.__cause__ from error
        raise DataError(str(error).removeprefix(f"{path}: ")) from error
    return shape[2], shape[1]


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "empty, or not a picture that Pillow can read"
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or repr(error)
