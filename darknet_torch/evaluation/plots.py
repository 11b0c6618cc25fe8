"""Plots of an evaluation as PNG: precision and recall, F1, the confusion matrix.

    precision_recall({"dog": (recall, precision, 0.71), ...}, "runs/precision-recall.png")

Needs matplotlib (the extra `plot`), which is imported when something is drawn;
no window is opened and no global state of matplotlib is changed. Colours are those of Okabe and
Ito, which colour-blind people can distinguish; the classes of one plot differ in dashes, too.
"""

import io
from collections.abc import Mapping, Sequence
from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from darknet_torch.data.dataset import Array
from darknet_torch.errors import UsageError
from darknet_torch.extras import require
from darknet_torch.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["confusion", "f1", "precision_recall"]

T = TypeVar("T")
_Path = str | PathLike[str]

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", ":", "-.")
_MOST = 10
"""Classes that are named in a plot of curves; the others are thin grey lines."""
_GRID = np.linspace(0, 1, 501)
_DPI = 150
_COUNTS_TO = 25
"""Most classes for which a confusion matrix has the counts in its cells."""


def precision_recall(curves: Mapping[str, tuple[Array, Array, float]], path: _Path) -> "Figure":
    """Draw precision over recall.

    The five best and the five worst classes have names; the mean of all is a thick line.

    Args:
        curves: name of a class -> (recall (n,) ascending, precision (n,), average precision 0..1).
        path: PNG to write.

    Returns:
        The figure.

    Raises:
        UsageError: no curve, arrays of different lengths, or matplotlib is not installed.
    """
    by_ap = _not_empty(dict(sorted(curves.items(), key=lambda item: -item[1][2])))
    figure, axes = _figure("recall: true positives / ground truths")
    axes.set_ylabel("precision: true positives / detections")
    named = _named(list(by_ap))
    every = []
    for name, (recall, precision, ap) in by_ap.items():
        x, y = _checked(name, recall, precision)
        x, y = np.concatenate([[0], x]), np.concatenate([y[:1] if len(y) else [0], y])
        axes.step(x, y, where="pre", **_style(name, named, f"{name}  {ap:.3f}"))
        # up to a point's recall its precision holds, and nothing beyond the last
        every.append(np.append(y, 0)[np.searchsorted(x, _GRID)])
    mean = sum(ap for _, _, ap in by_ap.values()) / len(by_ap)
    _mean_line(axes, np.mean(every, axis=0), f"mean  {mean:.3f}")
    axes.set_title(f"Precision and recall of {_classes(len(by_ap))}")
    return _finish(figure, axes, "average precision", path)


def f1(curves: Mapping[str, tuple[Array, Array]], path: _Path) -> "Figure":
    """Draw F1, the harmonic mean of precision and recall, over the threshold of the score.

    A dotted line shows the threshold of the best mean over the classes.

    Args:
        curves: name of a class -> (threshold (n,), F1 (n,)), in any order.
        path: PNG to write.

    Returns:
        The figure.

    Raises:
        UsageError: no curve, arrays of different lengths, or matplotlib is not installed.
    """
    checked = {name: _sorted(*_checked(name, *pair)) for name, pair in _not_empty(curves).items()}
    by_f1 = dict(sorted(checked.items(), key=lambda item: -item[1][1].max(initial=0)))
    figure, axes = _figure("threshold of the score")
    axes.set_ylabel("F1")
    named = _named(list(by_f1))
    every = []
    for name, (x, y) in by_f1.items():
        label = f"{name}  {y.max(initial=0):.3f}"
        axes.plot(x, y, **_style(name, named, label))
        every.append(np.interp(_GRID, x, y, left=y[0], right=0) if len(x) else 0 * _GRID)
    mean = np.mean(every, axis=0)
    best = int(mean.argmax())
    _mean_line(axes, mean, f"mean  {mean[best]:.3f}")
    axes.axvline(_GRID[best], color="black", linewidth=0.8, linestyle=":")
    axes.plot(_GRID[best], mean[best], "o", color="black", label=f"best at {_GRID[best]:.3f}")
    axes.set_title(f"F1 of {_classes(len(by_f1))}; best mean at a threshold of {_GRID[best]:.3f}")
    return _finish(figure, axes, "largest F1", path)


def confusion(matrix: Array, names: Sequence[str], path: _Path) -> "Figure":
    """Draw a confusion matrix; colours are shares of the column.

    Classes without any count are left out.

    Args:
        matrix: (C + 1, C + 1) counts, a row for each detected class, a column for each class of
            ground truths; the last row counts ground truths without a detection, the last column
            detections without a ground truth.
        names: of the C classes.
        path: PNG to write.

    Returns:
        The figure.

    Raises:
        UsageError: a matrix of another shape, or matplotlib is not installed.
    """
    counts = np.asarray(matrix)
    if counts.shape != (len(names) + 1,) * 2:
        expected = f"({len(names) + 1}, {len(names) + 1})"
        raise UsageError(f"matrix: shape {counts.shape}, {len(names)} classes need {expected}")
    kept = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
    kept = np.union1d(kept, [len(names)])  # the background stays
    labels = [(*names, "background")[index] for index in kept]
    counts = counts[np.ix_(kept, kept)]
    shares = counts / np.maximum(counts.sum(axis=0), 1)
    side = min(5 + 0.13 * len(kept), 24)
    figure = _new(side + 1, side, "compressed")
    axes = figure.add_subplot()
    # the square root makes small shares visible
    norm = import_module("matplotlib.colors").PowerNorm(0.5, vmin=0, vmax=1)
    image = axes.imshow(np.ma.masked_equal(shares, 0), cmap="Blues", norm=norm)
    font_size = float(np.clip(260 / len(kept), 6, 10))
    _cells(axes, labels, font_size)
    if len(kept) - 1 <= _COUNTS_TO:
        _write_counts(axes, counts, shares, font_size)
    bar = figure.colorbar(image, ax=axes, aspect=40, shrink=0.8, pad=0.02)
    bar.set_label("share of the ground truths of a class (column)")
    objects, detections = counts[:, :-1].sum(), counts[:-1].sum()
    axes.set_title(
        f"{objects:g} objects, {detections:g} detections; {len(kept) - 1} of {_classes(len(names))}"
    )
    return _save(figure, path)


# ---- curves


def _not_empty(curves: Mapping[str, T]) -> Mapping[str, T]:
    if not curves:
        raise UsageError("curves: none to draw; at least one class is needed")
    return curves


def _checked(name: str, x: Array, y: Array) -> tuple[Array, Array]:
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise UsageError(f"{name}: shapes {x.shape} and {y.shape}, two of (n,) are needed")
    return x, y


def _sorted(x: Array, y: Array) -> tuple[Array, Array]:
    order = np.argsort(x, kind="stable")
    return x[order], y[order]


def _named(names: list[str]) -> list[str]:
    """Of names sorted from best to worst the first and the last ones."""
    return names if len(names) <= _MOST else names[: _MOST // 2] + names[-(_MOST // 2) :]


def _style(name: str, named: list[str], label: str) -> dict[str, Any]:
    if name not in named:
        return {"color": "0.8", "linewidth": 0.6, "zorder": 1}
    index = named.index(name)
    color = _COLORS[index % (len(_COLORS) - 1)]  # black is for the mean
    dashes = _DASHES[index // (len(_COLORS) - 1) % len(_DASHES)]
    return {"color": color, "linestyle": dashes, "linewidth": 1.4, "label": label, "zorder": 2}


def _mean_line(axes: "Axes", mean: Array, label: str) -> None:
    axes.plot(_GRID, mean, color="black", linewidth=3, label=label, zorder=3)


def _figure(x_label: str) -> tuple["Figure", "Axes"]:
    figure = _new(9, 5.5)
    axes = figure.add_subplot()
    axes.set(xlabel=x_label, xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(color="0.92")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _finish(figure: "Figure", axes: "Axes", title: str, path: _Path) -> "Figure":
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: not labels[i].startswith(("mean ", "best at")))
    axes.legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        title=title,
        loc="upper left",
        bbox_to_anchor=(1.01, 1),
        frameon=False,
    )
    return _save(figure, path)


def _classes(count: int) -> str:
    return "1 class" if count == 1 else f"{count} classes"


# ---- confusion


def _cells(axes: "Axes", labels: list[str], font_size: float) -> None:
    ticks = np.arange(len(labels))
    axes.set_xticks(ticks, labels, rotation=90, fontsize=font_size)
    axes.set_yticks(ticks, labels, fontsize=font_size)
    axes.set(xlabel="ground truth", ylabel="detected")
    axes.set_xticks(ticks[:-1] + 0.5, minor=True)
    axes.set_yticks(ticks[:-1] + 0.5, minor=True)
    axes.grid(which="minor", color="0.92", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    for line in (axes.axhline, axes.axvline):  # the background is no class
        line(len(labels) - 1.5, color="0.4", linewidth=1)


def _write_counts(axes: "Axes", counts: Array, shares: Array, font_size: float) -> None:
    for row, column in np.argwhere(counts > 0):
        color = "white" if shares[row, column] > 0.35 else "black"
        text = f"{counts[row, column]:g}"
        axes.text(
            column, row, text, ha="center", va="center", color=color, fontsize=font_size * 0.85
        )


# ---- files


def _new(width: float, height: float, layout: str = "constrained") -> "Figure":
    """Return an empty figure of that many inches without a window."""
    figure: Figure = require("matplotlib.figure", "plot").Figure(
        figsize=(width, height), layout=layout
    )
    return figure


def _save(figure: "Figure", path: _Path) -> "Figure":
    canvas = import_module("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    content = io.BytesIO()
    canvas.print_figure(content, format="png", dpi=_DPI)
    write_atomically(path, content.getvalue())
    return figure
