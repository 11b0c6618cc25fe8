"""The deltas of [contrastive], sample after sample and pair after pair, as a plain loop."""

import math
from collections.abc import Sequence

import numpy as np

Vector = np.ndarray
Pairs = dict[tuple[int, int], float]


def cosine(a: Vector, b: Vector) -> float:
    lengths = math.sqrt(float(a @ a)) * math.sqrt(float(b @ b))
    return float(a @ b) / lengths if lengths > 0 else 0.0


def probabilities(similar: Pairs, temperature: float, limited: bool) -> Pairs:
    """How likely each pair is, beside the other ones with the same second member."""
    result = {}
    for (i, j), value in similar.items():
        rest = sum(
            math.exp(other / temperature)
            for (k, second), other in similar.items()
            if second == j and k != i
        )
        p = math.exp(value / temperature) / rest if rest else 0.9999
        result[i, j] = 0.9999 if limited and p > 1 else p
    return result


def deltas(
    z: Vector,
    labels: Sequence[int],
    classes: Sequence[int],
    *,
    temperature: float,
    detector: bool,
    most: int = 3,
) -> Vector:
    """The delta of each of the S embeddings (S, E), before normalizer and clipping."""
    count = len(z)
    similar = {
        (i, j): cosine(z[i], z[j])
        for i in range(count)
        for j in range(count)
        if i != j and classes[i] == classes[j]
    }
    p = probabilities(similar, temperature, limited=detector)
    delta = np.zeros_like(z)
    for i in range(count):
        partners = [j for j in range(count) if j != i and labels[j] == labels[i]]
        length = math.sqrt(float(z[i] @ z[i]))
        if not partners or length == 0:
            continue
        scale = 1 / (len(partners) * temperature * length)
        for j in partners:
            if (i, j) in similar:
                delta[i] -= scale * (similar[i, j] * z[i] - z[j]) * (1 - p[i, j])
        for k in repelled(i, partners, labels, classes, detector, most):
            delta[i] -= scale * (z[k] - similar[i, k] * z[i]) * p[i, k]
    return delta


def repelled(
    i: int,
    partners: Sequence[int],
    labels: Sequence[int],
    classes: Sequence[int],
    detector: bool,
    most: int,
) -> list[int]:
    """The samples that i is driven away from, again for each of its partners."""
    found: list[int] = []
    for j in partners:
        for k in range(len(labels)):
            if k in (i, j):
                continue
            if not detector:
                found.append(k)
            elif labels[k] != labels[i] and classes[k] == classes[j]:
                found.append(k)
                if len(found) >= most:
                    return found
    return found
