"""Text from a recurrent network that was trained on characters (bytes)."""

from collections.abc import Iterator

import torch
from torch import Tensor

from darknet_torch.errors import UsageError
from darknet_torch.network import Network
from darknet_torch.network.eval_mode import in_eval_mode

__all__ = ["generate"]


@torch.inference_mode()
def generate(
    network: Network,
    seed: bytes,
    *,
    length: int = 1000,
    temperature: float = 0.7,
    random_seed: int | None = None,
) -> Iterator[int]:
    """Yield the bytes that the network writes behind `seed`, one at a time.

    The network reads one byte at a time as a one-hot vector, and returns the probabilities of the
    next. Probabilities below .0001 are dropped, as in Darknet.

    Args:
        network: a recurrent network that reads and writes vectors.
        seed: the text to continue, one byte or more.
        length: number of bytes to write.
        temperature: 0 takes the most probable byte, 1 the network's own probabilities; larger
            values choose improbable bytes more often.
        random_seed: makes the choice repeatable; None is a new one each time.

    Raises:
        UsageError: the network is not recurrent, or an argument is out of its range.
    """
    size = network.plan.input.c
    if not network.stateful or not network.plan.input.is_vector:
        raise UsageError("the network has no memory: generate needs a recurrent network of vectors")
    if not seed or max(seed) >= size:
        raise UsageError(f"seed: must be one byte or more, each below {size}")
    if temperature < 0 or length < 0:
        raise UsageError("temperature, length: must not be negative")
    random = torch.Generator().manual_seed(random_seed) if random_seed is not None else None
    state = None
    with in_eval_mode(network):
        for byte in seed:
            output, state = network.step(_one_hot(byte, size, network), state)
        for _ in range(length):
            byte = _choose(_probabilities(output), temperature, random)
            yield byte
            output, state = network.step(_one_hot(byte, size, network), state)


def _one_hot(byte: int, size: int, network: Network) -> Tensor:
    x = torch.zeros(1, size, device=network.device, dtype=network.input_dtype)
    x[0, byte] = 1
    return x


def _probabilities(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    if not isinstance(output, Tensor):
        raise UsageError("the network yields boxes, not characters")
    return output.flatten().float().cpu()


def _choose(p: Tensor, temperature: float, random: torch.Generator | None) -> int:
    """Return the index of one entry; p ** (1 / t) is what a softmax of temperature t gives."""
    if temperature == 0:
        return int(p.argmax())
    p = torch.softmax(p.log() / temperature, dim=0)
    p = torch.where((p < 1e-4) & (p < p.max()), 0, p)
    return int(torch.multinomial(p, 1, generator=random))
