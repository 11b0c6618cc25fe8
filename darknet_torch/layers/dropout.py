"""[dropout], [silence]: layers that pass their input on at inference."""

from darknet_torch.layers.base import Layer
from darknet_torch.layers.registry import layer
from darknet_torch.parsing.dialect import ALEXEYAB
from darknet_torch.parsing.options import option


@layer("dropout")
class Dropout(Layer):
    """[dropout]: the identity at inference."""

    probability: float = option(0.5, in_fork={ALEXEYAB: 0.2})
    dropblock: bool = option(False, only=ALEXEYAB)
    dropblock_size_rel: float = option(0.0, only=ALEXEYAB)
    dropblock_size_abs: int = option(0, only=ALEXEYAB)


@layer("silence", "empty", "blank", only=ALEXEYAB)
class Silence(Layer):
    """[silence], [empty], [blank]: the identity."""
