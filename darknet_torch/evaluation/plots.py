"""What an evaluation found, as pictures for people: curves, confusion, the worst photos.

    precision_recall({"dog": (recall, precision, 0.71), ...}, "runs/precision-recall.png")

Needs matplotlib (pip install "darknet_torch[plot]"), which is imported when something is drawn;
no window is opened and no global state of matplotlib is touched. Colours are those of Okabe and
Ito, which colour-blind people can tell apart; the classes of one picture differ in dashes too.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont

from darknet_torch.data import Sample
from darknet_torch.errors import UsageError
from darknet_torch.files import write_atomically
from darknet_torch.inference.detections import Detections

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["confusion", "f1", "precision_recall", "worst_pictures"]

Array = npt.NDArray[Any]
T = TypeVar("T")
_Path = str | PathLike[str]

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", ":", "-.")
_MOST = 10
"""Classes that are named in a picture of curves; the others are thin grey lines."""
_GRID = np.linspace(0, 1, 501)
_DPI = 150
_COUNTS_TO = 25
"""Most classes for which the counts stand in the cells of a confusion matrix."""
_GAP, _SIDE = 8, 640


def precision_recall(curves: Mapping[str, tuple[Array, Array, float]], path: _Path) -> "Figure":
    """Draw precision over recall; return the figure, written to `path` as PNG.

    curves: name of a class -> (recall (n,) growing, precision (n,), average precision 0..1).
    The five best and the five worst classes have names, and the mean of all is a thick line.
    """
    by_ap = _some(dict(sorted(curves.items(), key=lambda item: -item[1][2])))
    figure, axes = _figure("recall: part of the marked objects that is found")
    axes.set_ylabel("precision: part of the detections that is right")
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

    curves: name of a class -> (threshold (n,), F1 (n,)), in any order. The threshold of the best
    mean over the classes is marked. Returns the figure, written to `path` as PNG.
    """
    checked = {name: _sorted(*_checked(name, *pair)) for name, pair in _some(curves).items()}
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
    """Draw which class was taken for which; return the figure, written to `path` as PNG.

    matrix: (C + 1, C + 1) counts, a row for each class found and a column for each class marked;
    the last column is what was found where nothing is marked, the last row what was not found.
    Colours are parts of the column; classes without any count are left out.
    """
    counts = np.asarray(matrix)
    if counts.shape != (len(names) + 1,) * 2:
        wanted = f"({len(names) + 1}, {len(names) + 1})"
        raise UsageError(f"matrix: shape {counts.shape}, {len(names)} classes need {wanted}")
    kept = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
    kept = np.union1d(kept, [len(names)])  # the background stays
    labels = [(*names, "background")[index] for index in kept]
    counts = counts[np.ix_(kept, kept)]
    parts = counts / np.maximum(counts.sum(axis=0), 1)
    side = min(5 + 0.13 * len(kept), 24)
    figure = _new(side + 1, side, "compressed")
    axes = figure.add_subplot()
    # (the square root shows the few that are taken for another class)
    norm = import_module("matplotlib.colors").PowerNorm(0.5, vmin=0, vmax=1)
    shown = axes.imshow(np.ma.masked_equal(parts, 0), cmap="Blues", norm=norm)
    letters = float(np.clip(260 / len(kept), 6, 10))
    _cells(axes, labels, letters)
    if len(kept) - 1 <= _COUNTS_TO:
        _write_counts(axes, counts, parts, letters)
    bar = figure.colorbar(shown, ax=axes, aspect=40, shrink=0.8, pad=0.02)
    bar.set_label("part of the objects of a class (of a column)")
    objects, found = counts[:, :-1].sum(), counts[:-1].sum()
    axes.set_title(
        f"{objects:g} objects, {found:g} detections; {len(kept) - 1} of {_classes(len(names))}"
    )
    return _save(figure, path)


def worst_pictures(pictures: Iterable[tuple[Sample, Detections, int]], folder: _Path) -> list[Path]:
    """Write a PNG for each picture: what is marked in it, beside what was found; return the paths.

    pictures: (picture, detections in it, how many of these are wrong or missed), in the order
    wanted: that is the number in the file's name.
    Raises ImageError for a picture that cannot be read.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, (sample, found, errors) in enumerate(pictures, 1):
        picture = _side_by_side(sample, found, errors)
        path = folder / f"{number:03d}-{sample.path.stem[:80]}.png"
        written.append(_write(picture, path))
    return written


# ---- curves


def _some(curves: Mapping[str, T]) -> Mapping[str, T]:
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
    """The best and the worst of names that are sorted, best first."""
    return names if len(names) <= _MOST else names[: _MOST // 2] + names[-(_MOST // 2) :]


def _style(name: str, named: list[str], label: str) -> dict[str, Any]:
    if name not in named:
        return {"color": "0.8", "linewidth": 0.6, "zorder": 1}
    place = named.index(name)
    color = _COLORS[place % (len(_COLORS) - 1)]  # black is for the mean
    dashes = _DASHES[place // (len(_COLORS) - 1) % len(_DASHES)]
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


def _cells(axes: "Axes", labels: list[str], letters: float) -> None:
    places = np.arange(len(labels))
    axes.set_xticks(places, labels, rotation=90, fontsize=letters)
    axes.set_yticks(places, labels, fontsize=letters)
    axes.set(xlabel="marked", ylabel="found")
    axes.set_xticks(places[:-1] + 0.5, minor=True)
    axes.set_yticks(places[:-1] + 0.5, minor=True)
    axes.grid(which="minor", color="0.92", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    for line in (axes.axhline, axes.axvline):  # the background is no class
        line(len(labels) - 1.5, color="0.4", linewidth=1)


def _write_counts(axes: "Axes", counts: Array, parts: Array, letters: float) -> None:
    for row, column in np.argwhere(counts > 0):
        color = "white" if parts[row, column] > 0.35 else "black"
        text = f"{counts[row, column]:g}"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=letters * 0.85)


# ---- the worst pictures


def _side_by_side(sample: Sample, found: Detections, errors: int) -> Image.Image:
    marked = Detections(
        torch.from_numpy(sample.ground_truth.xyxy),
        torch.ones(len(sample.ground_truth)),
        torch.from_numpy(sample.ground_truth.class_id),
        found.names,
        found.width,
        found.height,
    )
    left, right = (_smaller(each.draw(sample.path)) for each in (marked, found))
    letters = ImageFont.load_default(size=16)
    head = 28
    width = max(2 * left.width + _GAP, 2 * 260)
    sheet = Image.new("RGB", (width, left.height + head), "white")
    middle = width - right.width
    sheet.paste(left, (0, head))
    sheet.paste(right, (middle, head))
    pen = ImageDraw.Draw(sheet)
    pen.text((4, 5), f"{len(marked)} marked", "black", font=letters)
    pen.text((middle + 4, 5), f"{len(found)} found; errors: {errors}", "black", font=letters)
    return sheet


def _smaller(picture: Image.Image) -> Image.Image:
    """At most so large that two of them fit a screen."""
    scale = min(1.0, _SIDE / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture if scale == 1 else picture.resize(size, Image.Resampling.LANCZOS)


# ---- files


def _new(width: float, height: float, layout: str = "constrained") -> "Figure":
    """An empty figure of that many inches, which belongs to no window."""
    try:
        figure = import_module("matplotlib.figure")
    except ImportError as error:
        text = 'matplotlib is not installed: pip install "darknet_torch[plot]"'
        raise UsageError(text) from error
    made: Figure = figure.Figure(figsize=(width, height), layout=layout)
    return made


def _save(figure: "Figure", path: _Path) -> "Figure":
    canvas = import_module("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    content = io.BytesIO()
    canvas.print_figure(content, format="png", dpi=_DPI)
    write_atomically(path, content.getvalue())
    return figure


def _write(picture: Image.Image, path: Path) -> Path:
    content = io.BytesIO()
    picture.save(content, "PNG")
    write_atomically(path, content.getvalue())
    return path
