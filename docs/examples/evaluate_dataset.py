"""Evaluate a network on a data set of your own: two images, labelled in Darknet's format.

    python docs/examples/evaluate_dataset.py

The weights of yolov4-tiny (24 MB) are fetched at the first run and kept. It prints:

    2 images, 10 ground truth objects, 0 problems
    class            objects      AP  precision  recall
    person                 2    1.00       1.00    1.00
    cat                    2    1.00       1.00    1.00
    cup                    2    1.00       1.00    1.00
    spoon                  2    0.12       none    0.00
    diningtable            2    1.00       1.00    0.50
    mean over these classes 0.82 (VOC 2010), 0.83 (VOC 2007)
    at a score of 0.25: 7 true positives, 1 false positives, 3 false negatives

The command `darknet-torch evaluate yolov4-tiny data/data.yaml` prints more of the same result.
"""

from pathlib import Path

from PIL import Image, ImageOps

import darknet_torch as dt
from darknet_torch import data
from darknet_torch.evaluation import DetectionResult

# What a person would mark in the sample image: class, and left, top, right, bottom in pixels.
OBJECTS = {
    "person": (0, 15, 300, 512),
    "cup": (478, 13, 672, 237),
    "spoon": (597, 50, 672, 250),
    "diningtable": (384, 0, 768, 307),
    "cat": (384, 307, 705, 512),
}


def write_dataset(folder: Path, names: tuple[str, ...]) -> Path:
    """Write the sample image and its mirror image, a label file for each, and data.yaml."""
    folder.mkdir(exist_ok=True)
    image = Image.open(dt.SAMPLE)
    for name, each, mirrored in (
        ("sample", image, False),
        ("mirror", ImageOps.mirror(image), True),
    ):
        each.save(folder / f"{name}.jpg", quality=95)
        lines = [label(names, each, key, mirrored) for key in OBJECTS]
        (folder / f"{name}.txt").write_text("".join(lines))
    (folder / "val.txt").write_text("sample.jpg\nmirror.jpg\n")
    listed = ", ".join(names)
    (folder / "data.yaml").write_text(f"val: val.txt\nnames: [{listed}]\n")
    return folder / "data.yaml"


def label(names: tuple[str, ...], image: Image.Image, name: str, mirrored: bool) -> str:
    """Return a line of a label file: class index, then centre and size as fractions."""
    left, top, right, bottom = OBJECTS[name]
    if mirrored:
        left, right = image.width - right, image.width - left
    x, y = (left + right) / 2 / image.width, (top + bottom) / 2 / image.height
    w, h = (right - left) / image.width, (bottom - top) / image.height
    return f"{names.index(name)} {x:.6f} {y:.6f} {w:.6f} {h:.6f}\n"


def main() -> None:
    """Make the data set, evaluate, print."""
    model = dt.load("yolov4-tiny")
    dataset = data.read(write_dataset(Path("data"), model.names))
    objects = sum(len(sample.ground_truth.xyxy) for sample in dataset.samples)
    print(
        f"{len(dataset)} images, {objects} ground truth objects, {len(dataset.problems)} problems"
    )

    result = dt.evaluate(model, dataset)
    assert isinstance(result, DetectionResult)  # a classifier gives a ClassificationResult
    print(f"{'class':16} objects      AP  precision  recall")
    for row in result.rows():
        if row["truths"]:
            # without any detection there is no precision
            precision = "none" if row["precision"] is None else f"{row['precision']:.2f}"
            print(
                f"{row['class']:16} {row['truths']:7d} {row['ap']:7.2f}"
                f" {precision:>10} {row['recall']:7.2f}"
            )
    print(
        f"mean over these classes {result.voc.map10:.2f} (VOC 2010),"
        f" {result.voc.map07:.2f} (VOC 2007)"
    )
    counts = result.darknet.counts(0.25)
    print(
        f"at a score of 0.25: {counts.tp} true positives, {counts.fp} false positives,"
        f" {counts.fn} false negatives"
    )


if __name__ == "__main__":
    main()
