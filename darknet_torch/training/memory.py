"""How many images fit into memory at once: the micro-batch of a training, found before it starts.

On a processor the tensors that one image's forward pass keeps for its backward pass are counted;
on a graphics card passes with the largest size of the schedule are tried.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from darknet_torch.errors import UsageError

__all__ = ["available_bytes", "fitting_subdivisions", "kept_bytes"]

SHARE = 0.8
"""Share of the free memory that a step may take."""
SET_ASIDE, MOST_SET_ASIDE = 1 / 8, 2 << 30
"""Share of a card's memory, and most bytes, for the images of a batch on their way."""


def available_bytes() -> int | None:
    """Return the free memory of this machine in bytes; None where the system does not say."""
    found = [_meminfo(), _control_group()]
    known = [each for each in found if each is not None]
    return min(known) if known else None


def _meminfo() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    values = dict(line.split(":", 1) for line in lines if ":" in line)
    words = values.get("MemAvailable", "").split()
    return int(words[0]) * 1024 if words else None


def _control_group() -> int | None:
    """Return what a container may still use."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text(encoding="ascii").strip()
        used = (folder / "memory.current").read_text(encoding="ascii").strip()
    except OSError:
        return None
    return max(0, int(limit) - int(used)) if limit.isdigit() else None


def fitting_subdivisions(
    batch: int,
    wanted: int,
    forward: Callable[[int], Tensor],
    module: nn.Module,
    *,
    ranks: int = 1,
    fewest: bool = False,
) -> int:
    """Return the number of subdivisions with which a step fits into memory.

    Args:
        batch: images of a batch, of all processes.
        wanted: the subdivisions of the cfg.
        forward: computes the loss of so many images of the largest size.
        module: whose parameters the loss depends on; their gradients are dropped.
        ranks: processes, which must divide the result.
        fewest: try fewer subdivisions than wanted too, the fewest first.

    Raises:
        UsageError: not even one image fits.
    """
    device = next(module.parameters()).device
    fits = _fits_in_memory(forward, module) if device.type == "cpu" else _fits_on_card
    counts = [each for each in range(ranks, batch + 1, ranks) if batch % each == 0]
    for count in [each for each in counts if fewest or each >= wanted]:
        if fits(batch // count, forward, module):
            return count
    raise UsageError("a single image does not fit into memory; a smaller width and height may")


def _fits_in_memory(
    forward: Callable[[int], Tensor], module: nn.Module
) -> Callable[[int, Callable[[int], Tensor], nn.Module], bool]:
    """Return a test that needs one small pass: what it keeps grows with the images."""
    free = available_bytes()
    own = sum(each.nbytes for each in module.parameters())
    kept = kept_bytes(lambda: forward(2), module) / 2 if free is not None else 0
    # the gradients of activations come and go beside those that are kept; each parameter has a
    # gradient and a momentum
    return lambda images, *_: free is None or 1.5 * kept * images + 3 * own <= SHARE * free


def _fits_on_card(images: int, forward: Callable[[int], Tensor], module: nn.Module) -> bool:
    """Try it, beside as much memory as the next batch and the solver will take."""
    try:
        kept = _set_aside(module)
        forward(images).backward()
        del kept
    except torch.OutOfMemoryError:
        return False
    finally:
        module.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return True


def _set_aside(module: nn.Module) -> Tensor:
    """Return memory on a card: for momentum and averages, and the images of the next batch."""
    device, own = next(module.parameters()).device, sum(each.nbytes for each in module.parameters())
    if device.type != "cuda":
        return torch.empty(0, device=device)
    share = int(torch.cuda.get_device_properties(device).total_memory * SET_ASIDE)
    return torch.empty(2 * own + min(MOST_SET_ASIDE, share), dtype=torch.uint8, device=device)


def kept_bytes(forward: Callable[[], Tensor], module: nn.Module) -> int:
    """Return the bytes of the tensors that a pass keeps for its backward pass, parameters aside.

    Args:
        forward: the pass; its result needs a gradient.
        module: what computes it.
    """
    sizes: dict[int, int] = {}

    def note_size(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note_size, lambda tensor: tensor):
        result = forward()
    own = {each.untyped_storage().data_ptr() for each in module.parameters()}
    del result  # only now may the addresses be used again
    return sum(size for address, size in sizes.items() if address not in own)
