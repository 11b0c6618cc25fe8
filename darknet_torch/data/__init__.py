"""Data sets: what people have labelled, in the formats that they have, and all that is wrong in it.

    photos = read("my.yaml")                    # or "obj.data", a folder, a COCO .json
    photos.samples[0].truth.xyxy                # (N, 4) pixels
    for problem in photos.problems: print(problem)
    convert(photos, "as-coco", format="coco")

In the order in which the data flows: `truth` says what the parts are, `checks` what can be wrong;
`places` and `description` find what is meant; `darknet_labels`, `voc` and `coco` read and write one
format each, `classification` reads two; `items` and `reading` put it together, `conversion` writes
it again, `counting` counts.
"""

from darknet_torch.data.dataset import NOTES, Dataset, Problem, Sample, Truth
from darknet_torch.data.problems import KINDS
from darknet_torch.data.reading import read
from darknet_torch.data.statistics import statistics
from darknet_torch.data.writing import convert

__all__ = [
    "KINDS",
    "NOTES",
    "Dataset",
    "Problem",
    "Sample",
    "Truth",
    "convert",
    "read",
    "statistics",
]
