"""The score of a network in training: mAP of a detector, top-1 accuracy of a classifier."""

import time
from dataclasses import replace

from darknet_torch.data import Dataset
from darknet_torch.evaluation.class_matching import match_classes, match_labels
from darknet_torch.evaluation.evaluator import evaluate
from darknet_torch.inference.detector import Detector
from darknet_torch.network import Network
from darknet_torch.training.callbacks import ScoreReport
from darknet_torch.training.run import Run
from darknet_torch.training.run_files import write_weights

__all__ = ["matched", "measure", "score_of"]

REMEDY = "images to measure on have classes of those to train with"


def matched(network: Network, dataset: Dataset) -> Dataset:
    """Return validation images with the classes that are measured, before the first batch.

    Args:
        network: with the names of the classes that it learns.
        dataset: the images that it is to be measured on.

    Raises:
        DataError: no image has a class, and the network is a classifier.
        UsageError: an image has a class that the network lacks.
    """
    if network.plan.heads:
        dataset, numbers = match_classes(Detector(network), dataset, remedy=REMEDY)
    else:
        dataset, numbers = match_labels(network, dataset, remedy=REMEDY)
    count = len(dataset.names)
    if numbers is None and len(network.names) >= count:  # no warning at each measurement
        dataset = replace(dataset, names=network.names[:count])
    return dataset


def measure(run: Run) -> None:
    """Compute the score, and keep the weights if they are the best so far.

    The score is that of the averaged weights, where there is an average.
    """
    if run.score is None:
        return
    begun = time.monotonic()
    score = run.score(run.solver.averaged())
    course = run.course
    course.measured, course.without_progress = score, course.without_progress + 1
    if course.best is None or (score < course.best if run.lower_is_better else score > course.best):
        course.best, course.without_progress = score, 0
        write_weights(run, "_best.weights")
    if run.log is not None:
        run.log.add({"batch": course.batches, "seen": course.seen, "score": score})
    run.call("on_score", ScoreReport(course.batches, run.score_name, score, course.best))
    run.rate.pause(time.monotonic() - begun)


def score_of(network: Network, dataset: Dataset, points: int, batch_size: int) -> float:
    """Return Darknet's mAP at an IoU of .5, or the top-1 accuracy, in 0..1.

    Args:
        network: a detector or classifier.
        dataset: the images that it is measured on.
        points: how AP is computed, see `evaluate`.
        batch_size: images of one forward pass.
    """
    return evaluate(network, dataset, points=points, tops=(1,), batch_size=batch_size).score
