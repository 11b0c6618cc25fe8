"""Real weights on real photos: the detections that Darknet's own programs printed."""

import json
from pathlib import Path

import pytest
import torch

import darknet_torch as dt
from darknet_torch.inference.detections import Detection

SHARED = Path(__file__).resolve().parents[2] / "shared"
REAL = SHARED / "oracle" / "real"
NAMES = sorted(p.stem for p in REAL.glob("yolo-*.json")) or ["../shared is missing"]
needs_shared = pytest.mark.skipif(not REAL.is_dir(), reason="../shared is missing")

# tag of the recording -> dialect, letterbox, largest difference of a probability
EXACT = 1e-3  # same pixels (decoded by Pillow)
OTHER_DECODER = 0.02  # stb_image's JPEG pixels differ by a grey level or two
TAGS = {
    "pj_letterbox_PILPIXELS": ("pjreddie", True, EXACT),
    "ab_resize_PILPIXELS": ("alexeyab", False, EXACT),
    "pj_letterbox": ("pjreddie", True, OTHER_DECODER),
    "ab_resize": ("alexeyab", False, OTHER_DECODER),
    "ab_letterbox": ("alexeyab", True, OTHER_DECODER),
}


def load(name: str, dialect: str) -> dt.Network:
    folder = SHARED / "models" / name
    (cfg,), (weights,) = folder.glob("*.cfg"), folder.glob("*.weights")
    return dt.load(cfg, weights, dialect=dialect, mode="darknet")


def differences(detections: dt.Detections, recorded: list[dict], threshold: float, bound: float):
    """Pair each recorded detection with ours of its class; yield what does not fit.

    With other pixels, boxes that lie within the bound of the threshold may come or go.
    """
    slack = bound if bound > EXACT else 0
    left = list(detections)
    for want in recorded:
        near = [each for each in left if fits(each, want, bound)]
        if near:
            best = min(near, key=lambda each: abs(each.score - want["prob"]))
            left = [each for each in left if each is not best]
        elif want["prob"] > threshold + slack:
            yield "missing", want["class_id"], want["prob"]
    for each in left:
        if each.score > threshold + slack:
            yield "extra", each.class_id, each.score


def fits(ours, want: dict, bound: float) -> bool:
    box = torch.tensor(want["box_px_ltrb"])
    far = 0.1 if bound == EXACT else 2 + 0.02 * float((box[2:] - box[:2]).abs().max())
    return (
        ours.class_id == want["class_id"]
        and abs(ours.score - want["prob"]) < bound
        and float((torch.tensor(ours.box) - box).abs().max()) < far
    )


def agreed(recorded: list[dict], other: list[dict] | None) -> list[dict]:
    """Leave out what Darknet itself finds with one JPEG decoder only.

    An overlap that lies at the suppression's threshold falls to either side: of all recordings
    this is one box, at dog.jpg with yolo-fastest-1.0.
    """
    if other is None:
        return recorded
    same = ("class_id", "prob", "box_px_ltrb")
    rows = [as_found(*(each[name] for name in same)) for each in other]
    return [want for want in recorded if any(fits(row, want, OTHER_DECODER) for row in rows)]


def as_found(class_id: int, score: float, box: list[float]):
    return Detection(tuple(box), score, class_id, "")


@needs_shared
@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("name", NAMES)
def test_detections(name: str, tag: str) -> None:
    dialect, letterbox, bound = TAGS[tag]
    runs = json.loads((REAL / f"{name}.json").read_text())["runs"]
    if tag not in runs:
        pytest.skip(f"{tag} was not recorded for {name}")
    network = load(name, dialect)
    twin = runs.get(f"{tag}_PILPIXELS", {})
    for image, run in runs[tag].items():
        for threshold in (0.1, 0.5):
            key = f"detections_{threshold}"
            recorded = agreed(run[key], twin.get(image, {}).get(key))
            detections = dt.detect(
                network,
                SHARED / "photos" / f"{image}.jpg",
                threshold=threshold,
                letterbox=letterbox,
            )
            assert not (wrong := list(differences(detections, recorded, threshold, bound))), wrong
            assert len(recorded) >= len(run[key]) - 1


@needs_shared
@pytest.mark.parametrize("tag", ["pj_letterbox", "ab_resize", "ab_letterbox"])
@pytest.mark.parametrize("name", NAMES)
def test_detections_on_stb_pixels(name: str, tag: str) -> None:
    """The very pixels that Darknet decoded: nothing is left to the decoder."""
    dialect, letterbox, _ = TAGS[tag]
    runs = json.loads((REAL / f"{name}.json").read_text())["runs"]
    recorded = runs[tag]["person"]["detections_0.1"]
    detections = dt.detect(
        load(name, dialect), REAL / "stb_pixels" / "person.png", threshold=0.1, letterbox=letterbox
    )
    assert not (wrong := list(differences(detections, recorded, 0.1, EXACT))), wrong


@needs_shared
@pytest.mark.parametrize(
    ("key", "tag", "kind"),
    [
        ("post_nms_obj_0.1", "pj_letterbox", "objectness"),
        ("post_nms_greedy_0.1", "ab_resize", "greedynms"),
        ("post_nms_greedy_0.1", "ab_letterbox", "greedynms"),
        ("post_nms_diou_0.1", "ab_resize", "diounms"),
        ("post_nms_diou_0.1", "ab_letterbox", "diounms"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_other_suppressions(name: str, key: str, tag: str, kind: str) -> None:
    """`do_nms_obj` of pjreddie, greedy and distance suppression of AlexeyAB."""
    dialect, letterbox, _ = TAGS[tag]
    recorded = json.loads((REAL / f"{name}.json").read_text())["runs"][tag]["person"][key]
    detections = dt.detect(
        load(name, dialect),
        REAL / "stb_pixels" / "person.png",
        threshold=0.1,
        letterbox=letterbox,
        nms_kind=kind,
    )
    assert recorded
    assert not (wrong := list(differences(detections, recorded, 0.1, EXACT))), wrong
