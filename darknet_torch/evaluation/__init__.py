"""Networks measured on data sets."""

from darknet_torch.evaluation.results import ClassificationResult, DetectionResult

__all__ = ["ClassificationResult", "DetectionResult"]
