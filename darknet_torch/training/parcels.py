"""Objects with many tensors on their way from a loader process, in one message.

torch hands each tensor on as a file of its own, which the receiver asks the sender for: some
milliseconds each while that one computes. Here small ones go with the message.
"""

import io
import pickle
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["packed", "unpacked"]

SMALL = 1 << 16
"""Most bytes of a tensor that goes with the message."""


def packed(content: object) -> tuple[bytes, list[Tensor]]:
    """Return anything that can be pickled as bytes, and the large tensors in it."""
    file = io.BytesIO()
    packer = _Packer(file, protocol=pickle.HIGHEST_PROTOCOL)
    packer.dump(content)
    return file.getvalue(), packer.large


def unpacked(message: bytes, large: list[Tensor]) -> Any:
    """Return what `packed` took."""
    return _Unpacker(io.BytesIO(message), large).load()


class _Packer(pickle.Pickler):
    def __init__(self, file: io.BytesIO, protocol: int) -> None:
        super().__init__(file, protocol)
        self.large = list[Tensor]()

    def persistent_id(self, each: object) -> int | None:
        """Return the number of a large tensor among these."""
        if not isinstance(each, Tensor) or each.nbytes <= SMALL:
            return None
        self.large.append(each)
        return len(self.large) - 1

    def reducer_override(self, each: object) -> Any:
        """Return how a small tensor is made again of its values."""
        if not isinstance(each, Tensor):
            return NotImplemented
        make: Callable[..., Tensor] = torch.from_numpy
        return make, (each.numpy(),)


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, large: list[Tensor]) -> None:
        super().__init__(file)
        self.large = large

    def persistent_load(self, number: int) -> Tensor:
        """Return a large tensor."""
        return self.large[number]
