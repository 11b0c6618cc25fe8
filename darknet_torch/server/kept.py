"""The images that were uploaded last, so that other settings need no second upload."""

import secrets
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

from darknet_torch.server.batcher import Computed

__all__ = ["KeptImage", "KeptImages"]


@dataclass(frozen=True)
class KeptImage:
    """An image that was computed.

    Args:
        model: name of the network.
        computed: its outputs, before threshold and NMS.
        letterbox: how it was brought to the network's size.
    """

    model: str
    computed: Computed
    letterbox: bool

    @property
    def size(self) -> int:
        """Bytes of its tensors."""
        tensors = (self.computed.image.image, *self.computed.outputs)
        return sum(each.numel() * each.element_size() for each in tensors)


class KeptImages:
    """Images by a key that nobody can guess; the oldest are forgotten first.

    Args:
        most_bytes: of all that are kept.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes, self.held = most_bytes, 0
        self._images, self._lock = OrderedDict[str, KeptImage](), Lock()

    def put(self, image: KeptImage) -> str:
        """Keep an image; return its key."""
        key = secrets.token_urlsafe(18)
        with self._lock:
            self._images[key] = image
            self.held += image.size
            while self.held > self.most_bytes and self._images:
                self.held -= self._images.popitem(last=False)[1].size
        return key

    def get(self, key: str) -> KeptImage | None:
        """Return an image; None where it was forgotten."""
        with self._lock:
            if key in self._images:
                self._images.move_to_end(key)
            return self._images.get(key)
