"""Data sets: annotated images in Darknet's, VOC's or COCO's format, and every problem in them.

    dataset = read("my.yaml")                   # or "obj.data", a folder, a COCO .json
    dataset.samples[0].ground_truth.xyxy        # (N, 4) pixels
    for problem in dataset.problems: print(problem)
    convert(dataset, "as-coco", format="coco")

In the order in which the data flows:

    dataset, problems                the parts of a data set; what can be wrong in it
    messages                         values from files in error messages
    paths, safe_yaml, description    where files lie; .yaml and .data files
    darknet, voc, coco               annotations of boxes, one format a file; safe_xml for VOC's
    class_folders                    classes of whole images, by folder or path
    classes, coco_classes            names and numbers of classes
    listing, reading                 the images of a source, then the Dataset
    writing, statistics, anchors     other formats; counts; anchors for a cfg
"""

from darknet_torch.data.dataset import NOTES, Dataset, GroundTruth, Problem, Sample
from darknet_torch.data.problems import KINDS
from darknet_torch.data.reading import read
from darknet_torch.data.statistics import statistics
from darknet_torch.data.writing import convert

__all__ = [
    "KINDS",
    "NOTES",
    "Dataset",
    "GroundTruth",
    "Problem",
    "Sample",
    "convert",
    "read",
    "statistics",
]
