"""COCO's 80 classes and the category ids that its files give them."""

from collections.abc import Sequence

__all__ = ["COCO_CATEGORY_IDS", "are_coco"]

_UNUSED_IN_COCO = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}

COCO_CATEGORY_IDS = tuple(i for i in range(1, 91) if i not in _UNUSED_IN_COCO)
"""At index i the category id of Darknet's class i: 1 to 90, without the ten that COCO left out."""


def are_coco(names: Sequence[str]) -> bool:
    """Return whether names are those of COCO's 80 classes."""
    # The lists that circulate differ in the spelling of some names between these two.
    return len(names) == 80 and (names[0], names[-1]) == ("person", "toothbrush")
