"""What is done about a loss or a gradient that is not finite."""

from darknet_torch.errors import TrainingError
from darknet_torch.training.batches import Batch
from darknet_torch.training.run import Run
from darknet_torch.training.run_files import save
from darknet_torch.training.step import BatchLoss

__all__ = ["may_update"]

MOST_SKIPPED = 20
"""Batches in a row without a finite loss after which even `on_nan="skip"` stops."""
SHOWN = 4
"""Images that a message names."""


def may_update(run: Run, loss: BatchLoss, batch: Batch) -> bool:
    """Return whether the batch may change the weights; if not, do what `on_nan` says.

    Raises:
        TrainingError: the loss is not finite, and that is to stop the training.
    """
    if not loss.layers and loss.finite:
        run.course.skipped = 0
        return True
    run.statistics.restore()
    run.course.skipped += 1
    where = ", ".join(f"layer {i} [{run.network.plan[i].name}]" for i in loss.layers)
    images = ", ".join(str(path) for path in batch.paths[:SHOWN])
    images += f" and {len(batch.paths) - SHOWN} more" if len(batch.paths) > SHOWN else ""
    what = f"loss of {where}" if where else "gradient"
    text = f"batch {run.course.batches}: the {what} is not finite; images: {images}"
    if run.options.on_nan == "stop" or run.course.skipped > MOST_SKIPPED:
        run.stepper.undo()
        run.course.batches -= 1
        run.course.seen -= run.stepper.images
        save(run, is_last=True)
        raise TrainingError(
            f"{text}; a lower learning_rate, or on_nan= (--on-nan) skip or lower, may help;"
            f" the state before is in {run.options.path}"
        )
    if run.options.on_nan == "lower":
        run.course.rate_factor /= 2
        text += f"; learning rate x {run.course.rate_factor:g} from now on"
    run.tell(f"{text}; skipped")
    run.solver.optimizer.zero_grad(set_to_none=True)
    return False
