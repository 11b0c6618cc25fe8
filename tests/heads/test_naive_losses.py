"""Losses against the deltas that plain loops compute, on random objects that share anchors."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from head_cases import truth_of
from naive.losses import YoloLoss
from naive.region_loss import RegionLoss

import darknet_torch as dt
from darknet_torch.layers.truth import LossContext

IMAGE = (64, 96)
GRID = (4, 6)


def random_truth(rng: random.Random, classes: int) -> list[list[tuple[float, ...]]]:
    """Two images; half of the objects have the centre and nearly the shape of another."""
    images = []
    for count in (rng.randrange(3, 9), rng.randrange(3)):
        rows: list[tuple[float, ...]] = []
        for _ in range(count):
            if rows and rng.random() < 0.5:
                x, y, w, h, _ = rng.choice(rows)
                w, h = min(1, w * rng.uniform(0.97, 1.03)), min(1, h * rng.uniform(0.97, 1.03))
            else:
                x, y = rng.choice([rng.uniform(0.01, 1), 1.0]), rng.uniform(0.01, 1)
                w, h = rng.uniform(0.03, 0.7), rng.uniform(0.03, 0.7)
            rows.append((*(float(np.float32(v)) for v in (x, y, w, h)), rng.randrange(classes)))
        images.append(rows)
    return images


def head_of(section: str, channels: int, options: dict[str, Any], dialect: str) -> Any:
    lines = "".join(f"{key}={value}\n" for key, value in options.items())
    cfg = (
        f"[net]\nwidth={IMAGE[1]}\nheight={IMAGE[0]}\nchannels=3\n"
        f"[convolutional]\nfilters={channels}\nsize=16\nstride=16\nactivation=linear\n"
        f"[{section}]\n{lines}"
    )
    return dt.plan(cfg, dialect=dialect)[-1].layer


YOLO: dict[str, list[Any]] = {
    "ignore_thresh": [0.2, 0.5],
    "truth_thresh": [1, 1, 0.3],
    "max": [4, 20],
    "scale_x_y": [1, 1.2],
    "iou_loss": ["mse", "mse", "iou", "giou", "diou", "ciou"],
    "iou_normalizer": [0.75, 0.07],
    "obj_normalizer": [1, 0.6],
    "cls_normalizer": [1, 0.5],
    "iou_thresh": [1, 0.2],
    "iou_thresh_kind": ["iou", "giou", "diou", "ciou"],
    "label_smooth_eps": [0, 0.1],
    "objectness_smooth": [0, 1],
    "max_delta": [3, 0.2, 1000],
    "counters_per_class": [None, "100,50,10,3"],
    "show_details": [0, 1],
    "mask": ["0,1,2", "1,2", "0"],
}


@pytest.mark.parametrize("seed", range(16))
@pytest.mark.parametrize("kind", ["yolo", "yolo of pjreddie", "Gaussian_yolo"])
def test_yolo(kind: str, seed: int) -> None:
    rng = random.Random(f"{kind} {seed}")
    names = set(YOLO) - ({"show_details"} if kind == "Gaussian_yolo" else set())
    options = {name: rng.choice(YOLO[name]) for name in sorted(names)}
    dialect, section = "alexeyab", kind.partition(" ")[0]
    if "pjreddie" in kind:
        dialect = "pjreddie"
        options = {n: options[n] for n in ("ignore_thresh", "truth_thresh", "max", "mask")}
    elif section == "yolo":
        options |= {"focal_loss": rng.choice([0, 0, 1]), "new_coords": rng.choice([0, 0, 1])}
    else:
        options |= {
            "yolo_point": rng.choice(["center", "left_top", "right_bottom"]),
            "uc_normalizer": rng.choice([1, 0.3]),
        }
    options = {name: value for name, value in options.items() if value is not None}
    options |= {"classes": 4, "num": 3, "anchors": "10,12, 20,16, 30,36"}
    entries = (9 if section == "Gaussian_yolo" else 5) + 4
    channels = len(str(options["mask"]).split(",")) * entries
    head = head_of(section, channels, options, dialect)
    raw = torch.randn(2, channels, *GRID, dtype=torch.float64, generator=torch.manual_seed(seed))
    raw = torch.sigmoid(raw) if options.get("new_coords") else raw
    images = random_truth(rng, 4 if "pjreddie" in kind else 5)

    naive = [
        YoloLoss(head, head.maps(raw)[b].numpy(), IMAGE, section != "yolo").run(images[b])
        for b in range(2)
    ]
    delta = np.stack([each.delta for each in naive])
    cost = (delta**2).sum()
    if section == "yolo" and head.iou_loss != "mse" and head.show_details:
        errors = naive[0].errors + naive[1].errors
        cost = head.obj_normalizer * (delta[:, :, 4:] ** 2).sum()
        cost += head.iou_normalizer * sum(errors) / max(1, len(errors))
    compare(head, raw, images, 0, delta.reshape(raw.shape), cost)


def compare(
    head: Any, raw: torch.Tensor, images: Any, seen: int, delta: np.ndarray, cost: float
) -> None:
    raw = raw.requires_grad_()
    loss = head.loss(raw, truth_of(images), LossContext(IMAGE, seen))
    loss.total.backward()
    assert raw.grad is not None
    np.testing.assert_allclose(-raw.grad.numpy(), delta, rtol=1e-5, atol=1e-5)
    assert loss.cost.item() == pytest.approx(cost, rel=1e-5)


REGION: dict[str, list[Any]] = {
    "softmax": [0, 1],
    "bias_match": [0, 1],
    "rescore": [0, 1],
    "thresh": [0.2, 0.6],
    "object_scale": [5, 1],
    "noobject_scale": [1, 0.5],
    "class_scale": [1, 2],
    "coord_scale": [1, 1.5],
    "max": [4, 40],
}
TREE = "a -1\nb -1\nc -1\nd 0\ne 0\nf 2\ng 2\nh 2\ni 5\nj 5\n"


@pytest.mark.parametrize("seed", range(16))
@pytest.mark.parametrize("kind", ["alexeyab", "pjreddie", "alexeyab tree", "pjreddie tree"])
def test_region(kind: str, seed: int, tmp_path: Path) -> None:
    rng = random.Random(f"{kind} {seed}")
    options = {name: rng.choice(values) for name, values in REGION.items()}
    dialect, _, tree = kind.partition(" ")
    classes = 10 if tree else 4
    if dialect == "alexeyab":
        options |= {"classfix": rng.choice([0, -1, 1, 2])}
        options |= {"focal_loss": rng.choice([0, 1]) * options["softmax"]}
    elif not tree:
        options |= {"background": rng.choice([0, 0, 1])}
    if tree:
        (tmp_path / "my.tree").write_text(TREE)
        options |= {"tree": tmp_path / "my.tree"}
    if rng.random() < 0.4:
        (tmp_path / "my.map").write_text(
            "\n".join(str((3 * c + 1) % classes) for c in range(classes))
        )
        options |= {"map": tmp_path / "my.map"}
    options |= {"classes": classes, "num": 3, "anchors": "0.6,0.7, 1.2,1, 1.9,2.2"}
    channels = 3 * (5 + classes)
    head = head_of("region", channels, options, dialect)
    raw = torch.randn(2, channels, *GRID, dtype=torch.float64, generator=torch.manual_seed(seed))
    images = random_truth(rng, classes)
    if tree and rng.random() < 0.5:
        images[rng.randrange(2)].append((999999.0,) * 4 + (rng.randrange(classes),))
    seen = rng.choice([12799, 12800])
    rows = [[(None if r[0] > 1e5 else r[0], *r[1:]) for r in image] for image in images]
    naive = [RegionLoss(head, head.maps(raw)[b].numpy()).run(rows[b], seen) for b in range(2)]
    delta = np.stack([each.delta for each in naive])
    cost = sum((each.printed**2).sum() for each in naive)
    compare(head, raw, images, seen, delta.reshape(raw.shape), cost)
