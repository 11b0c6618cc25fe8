"""Networks measured on data sets: mAP of detectors, accuracy of classifiers.

cache          results of single images, kept in a folder
collect        the results of a data set's images: in batches, resumed, by several processes
report         figures as text: table, CSV, JSON
results        DetectionResult and ClassificationResult, which `evaluate` returns
plots          curves, confusion matrix and the worst images as PNG
result_files   everything of a result as files in a folder
evaluator      `evaluate`
"""

from darknet_torch.evaluation.results import ClassificationResult, DetectionResult

__all__ = ["ClassificationResult", "DetectionResult"]
