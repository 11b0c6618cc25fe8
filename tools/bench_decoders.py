"""Decoders of JPEG files beside Pillow: speed, grey levels, boxes; `tools/bench.py decoders`.

Differences are the largest ones of all photos: of grey levels, and of the boxes and scores that a
network detects. Speed is that of one thread, and of nvJPEG that of batches.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench_figures import keep
from bench_folder import photos_at_hand
from bench_turns import in_turns

if TYPE_CHECKING:
    from torch import Tensor

    import darknet_torch as dt
    from darknet_torch.images.decoders import DecoderName

__all__ = ["bench_decoders"]

BATCH = 32
IOU = 0.5
"""From which on a box is the same one."""


def bench_decoders(options: argparse.Namespace) -> None:
    """Images a second of each installed decoder, and how far it is from Pillow."""
    import torch

    import darknet_torch as dt
    from darknet_torch.images.decoders import DECODERS, check_decoder
    from darknet_torch.network.device import as_device

    photos = photos_at_hand()
    if not photos:
        print("decoders: the photos (../shared) are not here")
        return
    device = as_device(options.device)
    names: list[DecoderName] = []
    for name in DECODERS:
        try:
            names.append(check_decoder(name, device))
        except dt.DarknetError as error:
            print(f"decoders: {name} is left out: {error}")
    files = [Path(path).read_bytes() for path in photos]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    work: dict[str, Callable[[], object]] = {n: partial(_decode, files, n, device) for n in names}
    seconds = in_turns(work, rounds=7)
    torch.set_num_threads(threads)
    network = dt.load("yolov4-tiny", device=device)
    pixels, found = _decode(files, "pillow", device), _detect(network, files, "pillow")
    for name in names:
        levels = [
            int((a.cpu().int() - b.int()).abs().max())
            for a, b in zip(_decode(files, name, device), pixels, strict=True)
        ]
        pairs = zip(found, _detect(network, files, name), strict=True)
        moved, scores, lost = zip(*(_difference(a, b) for a, b in pairs), strict=True)
        row = {
            "images a second": round(len(files) / seconds[name], 1),
            "relative to pillow": round(seconds["pillow"] / seconds[name], 2),
            "grey levels": max(levels),
            "pixels of boxes": round(max(moved), 3),
            "score": round(max(scores), 4),
            "boxes in one alone": sum(lost),
        }
        what = f"{name}, {device}"
        print(f"{what}: " + ", ".join(f"{each} {value}" for each, value in row.items()))
        keep(options, "decoders", what, "", row)


def _decode(files: list[bytes], name: "DecoderName", device: Any) -> "list[Tensor]":
    """Return the pixels of all files, as a network's reader gets them."""
    import torch

    from darknet_torch.images.decoders import decode_on
    from darknet_torch.images.plain_jpeg import plain_jpeg
    from darknet_torch.images.reading import read

    if name != "nvjpeg":
        return [read(each, decoder=name) for each in files]
    images = list[torch.Tensor]()
    for start in range(0, len(files), BATCH):
        jpegs = [jpeg for each in files[start : start + BATCH] if (jpeg := plain_jpeg(each, 0))]
        images += [each for each in decode_on(jpegs, device) if each is not None]
    torch.cuda.synchronize(device)
    return images


def _detect(
    network: "dt.Runnable", files: list[bytes], name: "DecoderName"
) -> "list[dt.Detections]":
    import darknet_torch as dt

    found = dt.detect(network, files, batch_size=BATCH, decoder=name)
    assert isinstance(found, list)
    return found


def _difference(a: "dt.Detections", b: "dt.Detections") -> tuple[float, float, int]:
    """Compare the detections of an image.

    Boxes are the same if their class is, and they overlap: each takes its best of those left.

    Returns:
        The largest distance of corners in pixels, the largest difference of scores, and how many
        boxes only one of the two has.
    """
    from darknet_torch.heads.boxes import iou

    left, moved, scores = list(range(len(b))), [0.0], [0.0]
    for box, score, class_id in zip(a.xyxy, a.score, a.class_id, strict=True):
        same = [n for n in left if b.class_id[n] == class_id and iou(box, b.xyxy[n]) > IOU]
        if same:
            best = max(same, key=lambda n, box=box: float(iou(box, b.xyxy[n])))  # type: ignore[misc]
            left.remove(best)
            moved.append(float((box - b.xyxy[best]).abs().max()))
            scores.append(float((score - b.score[best]).abs()))
    return max(moved), max(scores), len(a) + len(b) - 2 * (len(b) - len(left))
