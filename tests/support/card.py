"""One network on another device: the numbers that it gives on the processor.

The device is that of `keys.DEVICE`. The settings of torch are left as they are by default, so that
the convolutions of a graphics card would be rounded to TF32 if the package did not prevent it.
"""

import copy

from keys import DEVICE
from subjects import Subject
from variants import EQUAL, SIGNS, Exempt, Outcome, Result, Variants, has_signs, outputs
from variants import measure as measure_variants

from darknet_torch.network import Network, Runnable
from darknet_torch.speed.optimized import optimize

__all__ = ["CARD", "measure"]


def measure(name: str, threads: int = 0) -> list[Result]:
    """Run one network on the device, plain and optimized."""
    return measure_variants(name, threads, CARD)


def plain(subject: Subject) -> Outcome:
    """The network itself, in batches."""
    return _compared(subject, _moved(subject))


def optimized(subject: Subject) -> Outcome:
    """What `optimize` makes of it: on a graphics card a recorded pass for each shape."""
    return _compared(subject, optimize(_moved(subject), compile=False))


def _moved(subject: Subject) -> Network:
    return copy.deepcopy(subject.network).to(DEVICE)


def _compared(subject: Subject, moved: Runnable) -> Outcome:
    outcome = Outcome()
    for x in (subject.images(1), subject.images(3), subject.images(3)):
        reset = getattr(moved, "reset", lambda: None)
        reset()
        actual = [y.cpu() for y in outputs(moved, x.to(DEVICE))]
        outcome.compare(f"{tuple(x.shape)}", actual, outputs(subject.network, x), EQUAL)
    if outcome.failures and has_signs(subject):
        raise Exempt(SIGNS)
    return outcome


CARD: Variants = {"plain": plain, "optimized": optimized}
