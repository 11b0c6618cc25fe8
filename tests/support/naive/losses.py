"""Deltas of the heads as Darknet's programs compute them: one object, one anchor after the other.

Slow and plain, in float64, with one array that everything is written into. `head` is the layer of
the package, of which only the options are read. Maps are (A, E, H, W) of one image, truth is a list
of (x, y, w, h, class) with x None for a class without a box.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keys import Array

Box = tuple[float, float, float, float]
Row = tuple[float | None, float, float, float, int]


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def cell(value: float, size: int) -> int:
    """The cell in float32, as C has it; a value of 1 is in the last."""
    return min(size - 1, max(0, int(np.float32(value) * np.float32(size))))


def edges(box: Box) -> Box:
    x, y, w, h = box
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def iou(a: Box, b: Box) -> float:
    (al, at, ar, ab), (bl, bt, br, bb) = edges(a), edges(b)
    wide, high = min(ar, br) - max(al, bl), min(ab, bb) - max(at, bt)
    if wide <= 0 or high <= 0:
        return 0.0
    return wide * high / (a[2] * a[3] + b[2] * b[3] - wide * high)


def kind_of_iou(kind: str, a: Box, b: Box) -> float:
    plain = iou(a, b)
    (al, at, ar, ab), (bl, bt, br, bb) = edges(a), edges(b)
    w, h = max(ar, br) - min(al, bl), max(ab, bb) - min(at, bt)
    if kind == "giou":
        union = (a[2] * a[3] + b[2] * b[3]) / (1 + plain)
        return plain - (w * h - union) / (w * h)
    distance = ((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2) / (w * w + h * h)
    if kind == "diou":
        return plain - distance**0.6
    if kind == "ciou":
        v = 4 / math.pi**2 * (math.atan(b[2] / b[3]) - math.atan(a[2] / a[3])) ** 2
        return plain - distance - v * v / (1 - plain + v + 1e-6)
    return plain


def box_gradient(kind: str, p: Box, t: Box) -> list[float]:
    """Section 7 of the description, written out edge by edge."""
    (pl, pt, pr, pb), (tl, tt, tr, tb) = edges(p), edges(t)
    iw, ih = min(pr, tr) - max(pl, tl), min(pb, tb) - max(pt, tt)
    i = iw * ih
    u = (pr - pl) * (pb - pt) + (tr - tl) * (tb - tt) - i
    cw, ch = max(pr, tr) - min(pl, tl), max(pb, tb) - min(pt, tt)
    c = cw * ch
    dx = {"l": -(pb - pt), "t": -(pr - pl), "r": pb - pt, "b": pr - pl}
    di = {
        "l": -ih if pl > tl else 0,
        "t": -iw if pt > tt else 0,
        "r": ih if pr < tr else 0,
        "b": iw if pb < tb else 0,
    }
    dc = {
        "l": -ch if pl < tl else 0,
        "t": -cw if pt < tt else 0,
        "r": ch if pr > tr else 0,
        "b": cw if pb > tb else 0,
    }
    apart = iw <= 0 or ih <= 0
    q = {}
    for edge in "ltrb":
        du = dx[edge] - di[edge]
        q[edge] = (u * di[edge] - i * du) / u**2 if u > 0 else 0.0
        if kind == "giou":
            second = (c * du - u * dc[edge]) / c**2
            q[edge] = second if apart else q[edge] + second
    d = [q["l"] + q["r"], q["t"] + q["b"], q["r"] - q["l"], q["b"] - q["t"]]
    if kind not in ("diou", "ciou"):
        return d
    left, top, right, bottom = (int(each) for each in (pl < tl, pt < tt, pr > tr, pb > tb))
    c2, s = cw**2 + ch**2, (p[0] - t[0]) ** 2 + (p[1] - t[1]) ** 2
    e = [
        (2 * (t[0] - p[0]) * c2 - 2 * cw * (right - left) * s) / c2**2,
        (2 * (t[1] - p[1]) * c2 - 2 * ch * (bottom - top) * s) / c2**2,
        2 * cw * 0.5 * (right + left) * s / c2**2,
        2 * ch * 0.5 * (bottom + top) * s / c2**2,
    ]
    if kind == "ciou":
        angle = math.atan(t[2] / t[3]) - math.atan(p[2] / p[3])
        v = 4 / math.pi**2 * angle**2
        al = v / (1 - i / u + v + 1e-6)
        e[2] += al * 8 / math.pi**2 * angle * p[3]
        e[3] -= al * 8 / math.pi**2 * angle * p[2]
    return e if apart else [a + b for a, b in zip(d, e, strict=True)]


def focal(p: float) -> float:
    return 0.5 * -(1 - p) * (2 * p * math.log(p) + p - 1)


class YoloLoss:
    """[yolo] and [Gaussian_yolo] of one image; `delta` is filled by `run`."""

    def __init__(self, head: Any, raw: Array, image: tuple[int, int], gaussian: bool) -> None:
        self.head, self.gaussian, self.image = head, gaussian, image
        self.raw, self.delta = raw, np.zeros_like(raw)
        self.out = raw.copy()
        stretch = [0, 2] if gaussian else [0, 1]
        if not getattr(head, "new_coords", False):
            plain = [4, 6] if gaussian else [2, 3]
            squashed = [e for e in range(raw.shape[1]) if e not in plain]
            self.out[:, squashed] = sigmoid(raw[:, squashed])
        a = head.scale_x_y
        self.out[:, stretch] = self.out[:, stretch] * a - (a - 1) / 2
        self.o = 8 if gaussian else 4
        self.accumulates = head.dialect.name != "pjreddie"
        self.errors: list[float] = []
        self.multipliers = [1.0] * head.classes
        if head.counters_per_class:
            counters = [max(1, c) for c in head.counters_per_class]
            self.multipliers = [min(head.max_delta, max(counters) / c) for c in counters]

    def anchor(self, n: int) -> tuple[float, float]:
        return self.head.anchors[2 * n], self.head.anchors[2 * n + 1]

    def box(self, m: int, j: int, i: int) -> Box:
        v, (_, _, height, width) = self.out[m, :, j, i], self.out.shape
        aw, ah = self.anchor(self.head.mask[m])
        x, y, w, h = (v[0], v[2], v[4], v[6]) if self.gaussian else v[:4]
        if getattr(self.head, "new_coords", False):
            bw, bh = (2 * w) ** 2 * aw / self.image[1], (2 * h) ** 2 * ah / self.image[0]
        else:
            bw, bh = math.exp(w) * aw / self.image[1], math.exp(h) * ah / self.image[0]
        shift = self.shift()
        return (i + x) / width + shift * bw, (j + y) / height + shift * bh, bw, bh

    def shift(self) -> float:
        point = getattr(self.head, "yolo_point", "center")
        return {"center": 0, "left_top": 0.5, "right_bottom": -0.5}[point]

    def multiplier(self, c: int) -> float:
        return self.multipliers[c] if 0 <= c < self.head.classes else 1.0

    def set_classes(self, m: int, j: int, i: int, c: int) -> None:
        h, classes = self.head, self.head.classes
        d, p = self.delta[m, self.o + 1 :, j, i], self.out[m, self.o + 1 :, j, i]
        eps = h.label_smooth_eps
        tested = 0 if self.gaussian or not self.accumulates else c
        if d[tested]:
            if c < classes:
                d[c] = (1 * (1 - eps) + eps / 2 - p[c]) * self.multiplier(c)
            return
        for n in range(classes):
            if getattr(h, "focal_loss", False):
                d[n] = ((n == c) - p[n]) * focal(p[c])
                continue
            d[n] = (n == c) * (1 - eps) + eps / 2 - p[n]
            if n == c and h.counters_per_class:
                d[n] *= self.multiplier(c) * h.cls_normalizer

    def set_box(self, m: int, j: int, i: int, t: Box, multiplier: float) -> None:
        h, v = self.head, self.out[m, :, j, i]
        _, _, height, width = self.out.shape
        aw, ah = self.anchor(h.mask[m])
        scale, norm = 2 - t[2] * t[3], h.iou_normalizer * multiplier
        shift, new = self.shift(), getattr(h, "new_coords", False)
        want = [
            (t[0] - shift * t[2]) * width - i,
            (t[1] - shift * t[3]) * height - j,
            math.sqrt(t[2] * self.image[1] / (4 * aw))
            if new
            else math.log(t[2] * self.image[1] / aw),
            math.sqrt(t[3] * self.image[0] / (4 * ah))
            if new
            else math.log(t[3] * self.image[0] / ah),
        ]
        at = [0, 2, 4, 6] if self.gaussian else [0, 1, 2, 3]
        if not self.accumulates:
            self.delta[m, at, j, i] = 0
        gradient = None
        if h.iou_loss != "mse":
            gradient = box_gradient(h.iou_loss, self.box(m, j, i), t)
            gradient[0] -= shift * gradient[2]
            gradient[1] -= shift * gradient[3]
            if not new:
                gradient[2] *= math.exp(v[at[2]])
                gradient[3] *= math.exp(v[at[3]])
        for k, entry in enumerate(at):
            e = want[k] - v[entry]
            if self.gaussian:
                s = v[entry + 1]
                z = e / s
                density = math.exp(-z * z / 2) / (math.sqrt(2 * math.pi) * (s + 0.3))
                factor = 0.5 * density / (density + 1e-9) * scale
                du = factor * (z * z / s - 1 / (s + 0.3)) * h.uc_normalizer
                self.delta[m, entry + 1, j, i] += np.clip(du, -h.max_delta, h.max_delta)
                d = (factor * z / s if gradient is None else gradient[k]) * norm
                d = np.clip(d, -h.max_delta, h.max_delta)
            elif gradient is None:
                d = scale * e * norm
            else:
                d = np.clip(gradient[k] * norm, -h.max_delta, h.max_delta)
            self.delta[m, entry, j, i] += d

    def learn(self, m: int, j: int, i: int, t: Box, c: int) -> None:
        h, multiplier = self.head, self.multiplier(c)
        kind = "giou" if h.iou_loss == "giou" else "iou"
        self.errors.append(1 - kind_of_iou(kind, self.box(m, j, i), t))
        self.set_box(m, j, i, t, multiplier)
        d = multiplier * h.obj_normalizer * (1 - self.out[m, self.o, j, i])
        if self.gaussian or not h.objectness_smooth or self.delta[m, self.o, j, i] == 0:
            self.delta[m, self.o, j, i] = d
        self.set_classes(m, j, i, c)

    def run(self, truth: Sequence[Row]) -> "YoloLoss":
        h, (anchors, _, height, width) = self.head, self.out.shape
        truth = [row for row in truth[: h.max] if row[0] is not None]
        for m in range(anchors):
            for j in range(height):
                for i in range(width):
                    self.background(m, j, i, truth)
        mapped = lambda c: h.class_map[c] if h.class_map and c < len(h.class_map) else c  # noqa: E731
        for *box, c in truth:
            t = tuple(box)
            if c >= h.classes and not self.gaussian:
                continue
            sides = [
                (0.0, 0.0, aw / self.image[1], ah / self.image[0])
                for aw, ah in map(self.anchor, range(h.num))
            ]
            same = (0.0, 0.0, t[2], t[3])
            shapes = [iou(side, same) for side in sides]
            best = int(np.argmax(shapes))
            i = cell(t[0] - self.shift() * t[2], width)
            j = cell(t[1] - self.shift() * t[3], height)
            c = mapped(c)
            for n in [best] + [n for n in range(h.num) if n != best]:
                similar = (
                    h.iou_thresh < 1
                    and kind_of_iou(h.iou_thresh_kind, sides[n], same) > h.iou_thresh
                )
                if n in h.mask and (n == best or similar):
                    self.learn(h.mask.index(n), j, i, t, c)
        boxes = slice(0, self.o)
        for m, j, i in np.ndindex(anchors, height, width):
            raised = int((self.delta[m, self.o + 1 :, j, i] > 0).sum())
            applies = self.gaussian or (h.iou_thresh < 1 and self.delta[m, self.o, j, i] != 0)
            if raised and applies:
                self.delta[m, boxes, j, i] /= raised
        return self

    def background(self, m: int, j: int, i: int, truth: Sequence[Row]) -> None:
        h, o = self.head, self.out[m, self.o, j, i]
        overlaps = [
            iou(self.box(m, j, i), tuple(row[:4])) if row[4] < h.classes else 0.0 for row in truth
        ]
        best = max(overlaps, default=0.0)
        d = h.obj_normalizer * (0 - o)
        shown = not self.accumulates or (self.out[m, self.o + 1 :, j, i] > 0.25).any()
        row = truth[int(np.argmax(overlaps))] if best > 0 else None
        c = -1 if row is None else row[4]
        c = h.class_map[c] if row is not None and h.class_map else c
        if shown and best > h.ignore_thresh:
            d = 0.0
            if h.objectness_smooth:
                d = h.obj_normalizer * ((best**2 if self.gaussian else best) - o)
                if self.gaussian:
                    self.set_classes(m, j, i, c)
        if best > h.truth_thresh and row is not None:
            target = best**2 if h.objectness_smooth else 1.0
            d = h.obj_normalizer * (target - o)
            self.set_classes(m, j, i, c)
            if h.objectness_smooth:
                p = self.out[m, self.o + 1 + c, j, i]
                self.delta[m, self.o + 1 + c, j, i] = self.multiplier(c) * (target - p)
            self.set_box(m, j, i, tuple(row[:4]), self.multiplier(c))
        self.delta[m, self.o, j, i] = d
