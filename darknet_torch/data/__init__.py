"""Data sets: what people have labelled, in the formats that they have, and all that is wrong in it.

    photos = read("my.yaml")                    # or "obj.data", a folder, a COCO .json
    photos.samples[0].truth.xyxy                # (N, 4) pixels
    for problem in photos.problems: print(problem)

`truth` says what the parts are; one file a format reads (and writes) it.
"""

from darknet_torch.data.truth import Dataset, Problem, Sample, Truth

__all__ = ["Dataset", "Problem", "Sample", "Truth"]
