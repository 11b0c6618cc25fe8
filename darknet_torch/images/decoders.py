"""Decoders of JPEG files beside Pillow's, for speed; their pixels may differ by some grey levels.

Pillow opens every file: it knows its format, its size before anything is decoded, and which side is
up. Only the content of a plain JPEG goes to another decoder, and what that refuses to Pillow.
"""

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from darknet_torch.errors import UsageError
from darknet_torch.extras import require
from darknet_torch.images.plain_jpeg import Jpeg

__all__ = [
    "DECODERS",
    "DecoderName",
    "check_decoder",
    "decode",
    "decode_on",
    "decoder_setting",
]

DecoderName = Literal["pillow", "torchcodec", "nvjpeg", "turbojpeg"]
DECODERS = get_args(DecoderName)
PACKAGES = {"torchcodec": "torchcodec", "nvjpeg": "torchcodec", "turbojpeg": "simplejpeg"}
"""The package of each decoder, whose extra bears the decoder's name."""


def check_decoder(decoder: DecoderName, device: torch.device) -> DecoderName:
    """Return a decoder.

    Args:
        decoder: its name.
        device: where the network computes.

    Raises:
        UsageError: there is no such decoder, its package is not installed, or it needs a graphics
            card.
    """
    if decoder not in DECODERS:
        raise UsageError(f"decoder={decoder}: must be one of {', '.join(DECODERS)}")
    if decoder == "nvjpeg" and device.type != "cuda":
        raise UsageError(
            f"decoder=nvjpeg: decodes on a graphics card, and the network is on the {device.type}"
        )
    if decoder in PACKAGES:
        require(PACKAGES[decoder], decoder)
    return decoder


def decoder_setting(decoder: DecoderName) -> str:
    """Return the text of a decoder among the settings that results depend on; "" of Pillow."""
    return "" if decoder == "pillow" else f" {decoder}"


def decode(jpeg: Jpeg, decoder: DecoderName) -> Tensor | None:
    """Return the pixels of a JPEG, upright; None where the decoder refuses it.

    Args:
        jpeg: see `plain_jpeg`.
        decoder: "torchcodec" or "turbojpeg".

    Returns:
        (3, H, W) uint8.
    """
    try:
        image = CALLS[decoder](jpeg)
    except (ValueError, RuntimeError):  # what Pillow makes of it is the result
        return None
    if image.shape != (3, jpeg.height, jpeg.width):
        return None
    # the channels of a pixel lie together, as Pillow's
    return jpeg.upright(image).permute(1, 2, 0).contiguous().permute(2, 0, 1)


def _turbojpeg(jpeg: Jpeg) -> Tensor:
    # in memory of the size that Pillow knows: a file that says something else is refused
    out = np.empty((jpeg.height, jpeg.width, 3), np.uint8)
    require("simplejpeg", "turbojpeg").decode_jpeg(jpeg.content, "RGB", buffer=out)
    return torch.from_numpy(out).permute(2, 0, 1)


def _torchcodec(jpeg: Jpeg) -> Tensor:
    decoders = require("torchcodec.decoders", "torchcodec")
    image: Tensor = decoders.decode_jpeg(jpeg.content, mode="RGB")
    return image


CALLS: dict[str, Callable[[Jpeg], Tensor]] = {"turbojpeg": _turbojpeg, "torchcodec": _torchcodec}


def decode_on(jpegs: list[Jpeg], device: torch.device) -> list[Tensor | None]:
    """Decode the JPEGs of a batch on a graphics card, in one call.

    Args:
        jpegs: see `plain_jpeg`.
        device: a graphics card.

    Returns:
        (3, H, W) uint8 each, upright, on the device; None where the card refuses one.
    """
    try:
        images = _nvjpeg([jpeg.content for jpeg in jpegs], device)
    except (ValueError, RuntimeError):  # of one of them, and the message does not say which
        if len(jpegs) == 1:
            return [None]
        return [image for jpeg in jpegs for image in decode_on([jpeg], device)]
    return [
        jpeg.upright(image) if image.shape == (3, jpeg.height, jpeg.width) else None
        for jpeg, image in zip(jpegs, images, strict=True)
    ]


def _nvjpeg(contents: list[bytes], device: torch.device) -> list[Tensor]:
    decoders = require("torchcodec.decoders", "nvjpeg")
    images: list[Tensor] = decoders.decode_jpeg(contents, mode="RGB", device=device)
    return images
