"""Deltas of [region] as Darknet's programs compute them, see `losses`."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keys import Array

from naive.losses import Box, Row, cell, focal, iou, sigmoid


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max())
    return powers / powers.sum()


class RegionLoss:
    """[region] of one image: `delta` is what training adds, `printed` what the cost sums up."""

    def __init__(self, head: Any, raw: Array) -> None:
        self.head, self.raw = head, raw
        self.pj = head.dialect.name == "pjreddie"
        self.out, self.delta = raw.copy(), np.zeros_like(raw)
        self.out[:, :2] = sigmoid(raw[:, :2])
        if not head.background:
            self.out[:, 4] = sigmoid(raw[:, 4])
        for m, j, i in np.ndindex(raw.shape[0], *raw.shape[2:]):
            scores = raw[m, 5:, j, i]
            if head.tree is not None:
                group_of = head.word_tree.group_of.numpy()
                for group in set(group_of):
                    own = group_of == group
                    self.out[m, 5:, j, i][own] = softmax(scores[own])
            elif head.softmax and head.background:
                self.out[m, 4:, j, i] = softmax(raw[m, 4:, j, i])
            elif head.softmax:
                self.out[m, 5:, j, i] = softmax(scores)
            elif self.pj:
                self.out[m, 5:, j, i] = sigmoid(scores)

    def box(self, m: int, j: int, i: int) -> Box:
        v, (_, _, height, width) = self.out[m, :, j, i], self.out.shape
        aw, ah = self.head.anchors[2 * m : 2 * m + 2]
        x, y = (i + v[0]) / width, (j + v[1]) / height
        return x, y, math.exp(v[2]) * aw / width, math.exp(v[3]) * ah / height

    def set_box(self, m: int, j: int, i: int, t: Box, scale: float) -> None:
        v, (_, _, height, width) = self.out[m, :, j, i], self.out.shape
        aw, ah = self.head.anchors[2 * m : 2 * m + 2]
        want = (
            t[0] * width - i,
            t[1] * height - j,
            math.log(t[2] * width / aw),
            math.log(t[3] * height / ah),
        )
        self.delta[m, :4, j, i] = [scale * (a - b) for a, b in zip(want, v[:4], strict=True)]

    def set_classes(self, m: int, j: int, i: int, c: int, scale: float) -> None:
        h, p, d = self.head, self.out[m, 5:, j, i], self.delta[m, 5:, j, i]
        if h.tree is not None:
            group_of = h.word_tree.group_of.numpy()
            while c >= 0:
                own = group_of == group_of[c]
                d[own] = -scale * p[own]
                d[c] = scale * (1 - p[c])
                c = h.word_tree.parent[c]
            return
        if self.pj and not h.softmax and d[0]:
            d[c] = scale * (1 - p[c])
            return
        for n in range(h.classes):
            d[n] = scale * ((n == c) - p[n]) * (focal(p[c]) if h.focal_loss else 1)

    def class_only(self, c: int) -> None:
        best, where = 0.0, (0, 0, 0)
        for place in np.ndindex(self.out.shape[0], *self.out.shape[2:]):
            m, j, i = place
            p, node = self.out[m, 4, j, i], c
            if self.pj:
                self.delta[m, 4, j, i] = self.head.noobject_scale * (0 - p)
            while node >= 0:
                p *= self.out[m, 5 + node, j, i]
                node = self.head.word_tree.parent[node]
            if p > best:
                best, where = p, place
        self.set_classes(*where, c, self.head.class_scale)
        self.delta[where[0], 4, where[1], where[2]] = 0

    def run(self, truth: Sequence[Row], seen: int) -> "RegionLoss":
        h, (_, _, height, width) = self.head, self.out.shape
        truth = truth[: 30 if self.pj else h.max]
        only = [row[4] for row in truth if row[0] is None]
        if h.tree is not None and only:
            self.class_only(only[0])
            return self.finish()
        objects = [(tuple(row[:4]), row[4]) for row in truth if row[0] is not None]
        objects = [(t, c) for t, c in objects if c < h.classes]
        for m, j, i in np.ndindex(h.num, height, width):
            self.background(m, j, i, objects)
            if seen < 12800:
                aw, ah = h.anchors[2 * m : 2 * m + 2]
                prior = ((i + 0.5) / width, (j + 0.5) / height, aw / width, ah / height)
                self.set_box(m, j, i, prior, 0.01)
        for t, c in objects:
            i, j = cell(t[0], width), cell(t[1], height)
            shapes = []
            for m in range(h.num):
                aw, ah = h.anchors[2 * m : 2 * m + 2]
                w, hh = (aw / width, ah / height) if h.bias_match else self.box(m, j, i)[2:]
                shapes.append(iou((0.0, 0.0, w, hh), (0.0, 0.0, t[2], t[3])))
            m = int(np.argmax(shapes))
            scale = h.coord_scale * (2 - t[2] * t[3] if self.pj else 1)
            self.set_box(m, j, i, t, scale)
            target = iou(self.box(m, j, i), t) if h.rescore else 1.0
            target = 0.0 if h.background else target
            self.delta[m, 4, j, i] = h.object_scale * (target - self.out[m, 4, j, i])
            c = h.class_map[c] if h.class_map else c
            self.set_classes(m, j, i, c, h.class_scale)
        return self.finish()

    def background(self, m: int, j: int, i: int, objects: Sequence[tuple[Box, int]]) -> None:
        h, o = self.head, self.out[m, 4, j, i]
        overlaps = [iou(self.box(m, j, i), t) for t, _ in objects]
        best = max(overlaps, default=0.0)
        d = h.noobject_scale * ((1 if h.background else 0) - o)
        if not self.pj and h.classfix == -1:
            d = h.noobject_scale * (best - o)
        elif best > h.thresh:
            d = 0.0
            if not self.pj and h.classfix > 0:
                c = objects[int(np.argmax(overlaps))][1]
                self.set_classes(m, j, i, c, h.class_scale * (o if h.classfix == 2 else 1))
        self.delta[m, 4, j, i] = d

    def finish(self) -> "RegionLoss":
        printed = self.delta.copy()
        squashed = [0, 1] if self.head.background else [0, 1, 4]
        v = self.out[:, squashed]
        self.delta[:, squashed] *= v * (1 - v)
        self.printed = printed if self.pj else self.delta
        return self
