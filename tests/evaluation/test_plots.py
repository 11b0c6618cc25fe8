"""Plots of an evaluation: their parts in matplotlib, and their pixels."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from darknet_torch.errors import UsageError
from darknet_torch.evaluation import plots


def opened(path: Path) -> np.ndarray:
    """The pixels of a file that is a PNG and the only one in its folder."""
    assert [each.name for each in path.parent.iterdir()] == [path.name]  # nothing is left over
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def has(pixels: np.ndarray, hexadecimal: str) -> bool:
    expected = bytes.fromhex(hexadecimal.removeprefix("#"))
    return bool((pixels == np.frombuffer(expected, np.uint8)).all(axis=-1).any())


def legend(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def line(figure, start: str) -> np.ndarray:
    """The points (n, 2) of the line whose label starts so."""
    lines = [each for each in figure.axes[0].lines if str(each.get_label()).startswith(start)]
    assert len(lines) == 1
    return np.stack([np.asarray(v, float) for v in lines[0].get_data()], axis=1)


def pr(ap: float):
    return np.array([0.25, 0.5]), np.array([1.0, ap]), ap


# ---- precision and recall


def test_precision_recall(tmp_path) -> None:
    path = tmp_path / "pr.png"
    figure = plots.precision_recall({"ant": pr(0.2), "bee": pr(0.8)}, path)
    assert legend(figure) == ["mean  0.500", "bee  0.800", "ant  0.200"]
    assert figure.axes[0].get_title() == "Precision and recall of 2 classes"
    assert figure.axes[0].get_xlabel() == "recall: true positives / ground truths"
    assert figure.axes[0].get_ylabel() == "precision: true positives / detections"
    pixels = opened(path)
    assert pixels.shape[:2] == (825, 1350)
    assert has(pixels, "#0072B2") and has(pixels, "#D55E00") and not has(pixels, "#009E73")


def test_the_mean_is_that_of_the_curves(tmp_path) -> None:
    """Precision holds up to its recall, and is 0 beyond the last."""
    curves = {"ant": pr(0.2), "bee": (np.array([1.0]), np.array([0.6]), 0.6)}
    mean = line(plots.precision_recall(curves, tmp_path / "pr.png"), "mean")
    at = {recall: mean[np.isclose(mean[:, 0], recall), 1].item() for recall in (0, 0.2, 0.4, 0.7)}
    assert at == pytest.approx({0: 0.8, 0.2: 0.8, 0.4: 0.4, 0.7: 0.3})


@pytest.mark.parametrize("draw", ["precision_recall", "f1"])
def test_only_the_best_and_the_worst_of_many_have_names(draw, tmp_path) -> None:
    curves = {
        f"class {i:02d}": pr(i / 30)[: 3 if draw == "precision_recall" else 2] for i in range(30)
    }
    if draw == "f1":
        curves = {f"class {i:02d}": (np.array([0, 1]), np.full(2, i / 30)) for i in range(30)}
    figure = getattr(plots, draw)(curves, tmp_path / "many.png")
    named = [text.split("  ")[0] for text in legend(figure) if text.startswith("class")]
    assert named == [f"class {i:02d}" for i in (29, 28, 27, 26, 25, 4, 3, 2, 1, 0)]
    looks = {
        (v.get_color(), v.get_linestyle()) for v in figure.axes[0].lines if v.get_zorder() == 2
    }
    assert len(looks) >= 10  # no two are alike
    grey = [v for v in figure.axes[0].lines if v.get_color() == "0.8"]
    assert len(grey) == 20


def test_a_class_without_detections_counts_as_nothing(tmp_path) -> None:
    none = np.zeros(0)
    figure = plots.precision_recall({"a": (none, none, 0.0), "b": pr(1.0)}, tmp_path / "a.png")
    assert line(figure, "mean")[0, 1] == 0.5
    figure = plots.f1({"a": (none, none), "b": (np.array([0, 1]), np.ones(2))}, tmp_path / "b.png")
    assert line(figure, "mean")[0, 1] == 0.5


def test_curves_that_cannot_be_drawn_raise(tmp_path) -> None:
    for draw in (plots.precision_recall, plots.f1):
        with pytest.raises(UsageError, match="curves: none to draw; at least one class is needed"):
            draw({}, tmp_path / "a.png")
    with pytest.raises(
        UsageError, match=r"ant: shapes \(2,\) and \(3,\), two of \(n,\) are needed"
    ):
        plots.f1({"ant": (np.zeros(2), np.zeros(3))}, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


# ---- F1


@pytest.mark.parametrize("order", [1, -1])
def test_f1_marks_the_best_threshold(order, tmp_path) -> None:
    path = tmp_path / "f1.png"
    ant = np.array([0, 0.4, 1])[::order], np.array([0, 0.8, 0])[::order]
    bee = np.array([0, 0.4, 1])[::order], np.array([0, 0.6, 0])[::order]
    figure = plots.f1({"bee": bee, "ant": ant}, path)
    assert legend(figure) == ["mean  0.700", "best at 0.400", "ant  0.800", "bee  0.600"]
    assert line(figure, "best at").tolist() == [[pytest.approx(0.4), pytest.approx(0.7)]]
    assert "best mean at a threshold of 0.400" in figure.axes[0].get_title()
    assert figure.axes[0].get_xlabel() == "threshold of the score"
    assert has(opened(path), "#0072B2")


# ---- confusion


def labels(figure) -> list[str]:
    return [tick.get_text() for tick in figure.axes[0].get_yticklabels()]


def test_confusion(tmp_path) -> None:
    path = tmp_path / "confusion.png"
    matrix = [[6, 0, 1, 2], [0, 0, 0, 0], [2, 0, 3, 0], [0, 0, 4, 0]]
    figure = plots.confusion(np.array(matrix), ["ant", "bee", "cat"], path)
    assert labels(figure) == ["ant", "cat", "background"]  # no bee is annotated or detected
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == labels(figure)
    (image,) = figure.axes[0].images
    want = [[6 / 8, 1 / 8, 1], [2 / 8, 3 / 8, 0], [0, 4 / 8, 0]]
    assert np.ma.filled(image.get_array(), 0) == pytest.approx(np.array(want))
    written = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    # (column, row)
    assert written == {
        (0, 0): "6", (1, 0): "1", (2, 0): "2", (0, 1): "2", (1, 1): "3", (1, 2): "4",
    }  # fmt: skip
    assert figure.axes[0].get_title() == "16 objects, 14 detections; 2 of 3 classes"
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == (
        "ground truth",
        "detected",
    )
    dark = opened(path)
    assert (dark.sum(axis=-1) < 300).sum() > 1000


def test_counts_are_not_written_into_small_cells(tmp_path) -> None:
    for classes, texts in ((25, 25), (26, 0), (80, 0)):
        matrix = np.diag([5] * classes + [0])
        names = [str(i) for i in range(classes)]
        figure = plots.confusion(matrix, names, tmp_path / f"{classes}.png")
        assert len(figure.axes[0].texts) == texts
        assert len(labels(figure)) == classes + 1
        figure.canvas.draw()
        boxes = [tick.get_window_extent() for tick in figure.axes[0].get_yticklabels()]
        assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))


def test_no_ground_truths_and_no_detections(tmp_path) -> None:
    figure = plots.confusion(np.zeros((3, 3)), ["a", "b"], tmp_path / "none.png")
    assert labels(figure) == ["background"]
    assert figure.axes[0].get_title() == "0 objects, 0 detections; 0 of 2 classes"


def test_a_matrix_of_another_size_raises(tmp_path) -> None:
    with pytest.raises(UsageError) as error:
        plots.confusion(np.zeros((2, 2)), ["a", "b"], tmp_path / "a.png")
    assert str(error.value) == "matrix: shape (2, 2), 2 classes need (3, 3)"


# ---- matplotlib


def test_without_matplotlib_the_error_says_what_to_install(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    message = 'matplotlib is not installed: pip install "matplotlib'
    for draw in (
        lambda: plots.precision_recall({"a": pr(1)}, tmp_path / "a.png"),
        lambda: plots.f1({"a": pr(1)[:2]}, tmp_path / "a.png"),
        lambda: plots.confusion(np.zeros((2, 2)), ["a"], tmp_path / "a.png"),
    ):
        with pytest.raises(UsageError) as error:
            draw()
        assert str(error.value).startswith(message)
    assert not list(tmp_path.iterdir())


def test_matplotlib_is_imported_late_and_without_pyplot(tmp_path) -> None:
    code = (
        "import sys\nfrom darknet_torch.evaluation import plots\n"
        "early = 'matplotlib' in sys.modules\n"
        f"plots.f1({{'a': ([0, 1], [1, 0])}}, {str(tmp_path / 'a.png')!r})\n"
        "sys.exit(early or 'matplotlib' not in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
