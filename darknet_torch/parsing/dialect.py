"""The forks of Darknet as data: the facts in which they differ.

Code asks for a fact (`dialect.letterbox`), never for a fork. Facts that belong to one option or
one section stand there instead: `option(..., only=ALEXEYAB)`, `@layer("reorg3d", only=ALEXEYAB)`.

PJREDDIE is pjreddie/darknet f6afaab, ALEXEYAB is AlexeyAB/darknet 59596d7, HANK_AI is
hank-ai/darknet f684e1d, which keeps AlexeyAB's meanings and drops some sections.
"""

from dataclasses import dataclass, replace

from darknet_torch.errors import UsageError

__all__ = ["ALEXEYAB", "DIALECTS", "HANK_AI", "PJREDDIE", "Dialect", "get"]


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """The facts of one fork. Dialects of the same `family` have the same options."""

    name: str
    family: str
    activations: frozenset[str]
    lacks: frozenset[str] = frozenset()
    """Sections of the family that this fork has dropped."""

    # text
    inline_comments: bool = False
    """A `#` ends a value."""
    duplicate_keys: bool = True
    """A key may stand twice in a section (the first wins)."""
    comment_ends_list: bool = False
    """A `#` ends the lists with `comment_ends` (mask, anchors of [yolo], steps)."""

    # weights file
    wide_seen_below: int | None = None
    """`seen` has 64 bits from version 0.2 on, if major and minor are below this (None: always)."""

    # numbers
    batch_norm_epsilon: float = 1e-5
    epsilon_inside_root: bool = True
    """Batch norm divides by sqrt(var + epsilon); otherwise by sqrt(var) + epsilon."""
    batch_norm_layer_biases: bool = True
    """[batchnorm] has biases, and they are in the weights file."""
    strided_shortcut: bool = False
    """[shortcut] adds maps of different height and width."""
    xnor_padding: float = -1.0
    region_by_cell: bool = True
    """[region] has its output as (cell, anchor, entry), x and y before their sigmoid."""
    region_logistic_classes: bool = False
    """[region] without softmax applies a sigmoid to its class scores."""
    region_tree_walk: bool = False
    """A box of a word tree has the class where a walk from the root ends, else the last class above
    one half."""

    # detector
    threshold: float = 0.25
    """Default of the detector's threshold."""
    letterbox: bool = False
    """Whether the detector letterboxes images by default."""

    # training
    lacks_policies: frozenset[str] = frozenset()
    """Policies of the learning rate that the fork does not know; it keeps the rate constant."""
    unsigned_batch_number: bool = False
    """policy=sigmoid subtracts `step` from an unsigned number: before it the difference is huge."""

    cpu_batch_norm_defects: bool = True
    """On processors, batch norm's running statistics take a tenth of each batch, its biases get no
    gradient."""
    smooth_cost_reversed: bool = False
    """[cost] type=smooth has the gradient of differences above 1 with the wrong sign."""
    timed_stopbackward: bool = True
    """`stopbackward` above 1 ends with that batch; otherwise any value but 0 is for ever."""
    adam_counts_batches: bool = True
    """Adam's bias correction counts batches since `seen` was 0; otherwise its own steps."""
    updated: frozenset[str] | None = None
    """Sections that the fork's training updates, if it forgets some; None: all."""
    trains_on_canvas: bool = False
    """Images are resized and pasted onto a grey canvas, where other forks resize a crop."""
    smallest_object: float | None = None
    """Side below which an object is left out, as a fraction; None is one pixel of the input."""
    labels_without_box: bool = False
    """A label with its centre at 0, 0 is a class without a box; other forks leave it out."""
    yolo_boxes_accumulate: bool = True
    """[yolo] adds up the box gradients of several objects at one anchor; else the last one wins."""
    yolo_ignores_by_class: bool = True
    """`ignore_thresh` acts only where some class has a probability above one quarter."""
    region_rows: int | None = None
    """Objects of an image that [region] reads, whatever `max` says."""
    region_small_boxes: bool = False
    """[region] weighs boxes by 2 - w * h."""
    region_cost_after_sigmoid: bool = True
    """The printed cost of [region] contains the sigmoid's derivative."""
    region_classfix: bool = True
    """[region] obeys `classfix`."""
    region_class_only_objectness: bool = False
    """An image with a class but no box teaches [region] that there is no object elsewhere."""

    def knows(self, only: "Dialect | None") -> bool:
        """Return whether this fork has what only the family of `only` has (None: all have it)."""
        return only is None or only.family == self.family

    def seen_is_wide(self, major: int, minor: int) -> bool:
        """Return whether `seen` has 64 bits, not 32, in the header of that version of the file."""
        limit = self.wide_seen_below
        return major * 10 + minor >= 2 and (limit is None or (major < limit and minor < limit))


_COMMON = "logistic loggy relu elu selu relie plse hardtan lhtan linear ramp leaky tanh stair"
_ALEXEYAB = (
    "swish mish hard_mish normalize_channels normalize_channels_softmax"
    " normalize_channels_softmax_maxval relu6 gelu revleaky"
)


def _words(*texts: str) -> frozenset[str]:
    return frozenset(word for text in texts for word in text.split())


PJREDDIE = Dialect(
    name="pjreddie",
    family="pjreddie",
    activations=_words(_COMMON),
    wide_seen_below=1000,
    batch_norm_epsilon=1e-6,
    epsilon_inside_root=False,
    batch_norm_layer_biases=False,
    strided_shortcut=True,
    xnor_padding=0.0,
    region_by_cell=False,
    region_logistic_classes=True,
    region_tree_walk=True,
    yolo_boxes_accumulate=False,
    yolo_ignores_by_class=False,
    region_rows=30,
    region_small_boxes=True,
    region_cost_after_sigmoid=False,
    region_classfix=False,
    region_class_only_objectness=True,
    threshold=0.5,
    letterbox=True,
    lacks_policies=frozenset({"sgdr"}),
    unsigned_batch_number=True,
    cpu_batch_norm_defects=False,
    smooth_cost_reversed=True,
    timed_stopbackward=False,
    adam_counts_batches=False,
    trains_on_canvas=True,
    smallest_object=0.001,
    labels_without_box=True,
)
ALEXEYAB = Dialect(
    name="alexeyab",
    family="alexeyab",
    activations=_words(_COMMON, _ALEXEYAB),
    comment_ends_list=True,
    updated=_words("convolutional conv shortcut batchnorm crnn conv_lstm"),
)
HANK_AI = replace(
    ALEXEYAB,
    name="hank-ai",
    lacks=_words(
        "activation batchnorm conv_lstm crop detection gru history implicit local lrn",
        "normalization reorg",
    ),
    inline_comments=True,
    duplicate_keys=False,
)
DIALECTS = {dialect.name: dialect for dialect in (PJREDDIE, ALEXEYAB, HANK_AI)}


def get(dialect: Dialect | str | None) -> Dialect:
    """Return a dialect by its name, in any case and with `_` or `-`; ALEXEYAB for None.

    Raises:
        UsageError: there is no dialect of that name.
    """
    if dialect is None:
        return ALEXEYAB
    if isinstance(dialect, Dialect):
        return dialect
    known = DIALECTS.get(str(dialect).lower().replace("_", "-"))
    if known is None:
        raise UsageError(f"dialect {dialect!r}: unknown; there are {', '.join(DIALECTS)}")
    return known
