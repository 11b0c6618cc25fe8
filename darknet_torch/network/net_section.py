"""[net]: the size of the input, and the options of solver and data augmentation."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from darknet_torch.errors import ShapeError
from darknet_torch.layers.base import Shape
from darknet_torch.parsing.dialect import ALEXEYAB, PJREDDIE
from darknet_torch.parsing.options import option
from darknet_torch.parsing.parser import Section

__all__ = ["NET_SECTIONS", "Net"]

NET_SECTIONS = ("net", "network")


def _steps(net: Any) -> int:
    return 1 if net.policy == "steps" else 0


def _scales(net: Any) -> int:
    return len(net.steps) if net.policy == "steps" else 0


@dataclass(frozen=True, kw_only=True)
class Net:
    """The options of [net], the first section of a cfg.

    Only width, height, channels and inputs change the network.
    """

    unheeded: ClassVar[tuple[str, ...]] = (
        "adversarial_lr",
        "badlabels_rejection_percentage",
        "equidistant_point",
        "num_sigmas_reject_badlabels",
    )
    """See `Layer.unheeded`."""

    section: Section = field(repr=False, compare=False)

    width: int = option(0, check=lambda n: n >= 0, expected="at least 0")
    height: int = option(0, check=lambda n: n >= 0, expected="at least 0")
    channels: int = option(0, check=lambda n: n >= 0, expected="at least 0")
    inputs: int = option(lambda o: o.width * o.height * o.channels)
    letter_box: bool = option(False, only=ALEXEYAB)
    batch: int = option(1)
    subdivisions: int = option(1)
    time_steps: int = option(1)

    # solver
    learning_rate: float = option(0.001)
    learning_rate_min: float = option(0.00001, only=ALEXEYAB)
    momentum: float = option(0.9)
    decay: float = option(0.0001)
    policy: Literal["constant", "random", "poly", "step", "exp", "sigmoid", "steps", "sgdr"] = (
        option("constant")
    )
    burn_in: int = option(0)
    power: float = option(4.0)
    max_batches: int = option(0)
    step: int = option(1)
    scale: float = option(1.0)
    gamma: float = option(1.0)
    steps: tuple[int, ...] = option(
        (), comment_ends=True, count=_steps, lacking="policy=steps needs one; Darknet stops there"
    )
    scales: tuple[float, ...] = option((), count=_scales, lacking="one for each of steps")
    seq_scales: tuple[float, ...] = option((), only=ALEXEYAB)
    sgdr_cycle: int = option(lambda o: o.max_batches, only=ALEXEYAB)
    sgdr_mult: int = option(2, only=ALEXEYAB)
    adam: bool = option(False)
    B1: float = option(0.9)
    B2: float = option(0.999)
    eps: float = option(1e-7, in_fork={ALEXEYAB: 1e-6})
    notruth: bool = option(False, only=PJREDDIE)
    ema_alpha: float = option(0.0, only=ALEXEYAB)
    loss_scale: float = option(1.0, only=ALEXEYAB)
    try_fix_nan: bool = option(False, only=ALEXEYAB)
    weights_reject_freq: int = option(0, only=ALEXEYAB)
    equidistant_point: int = option(0, only=ALEXEYAB)
    badlabels_rejection_percentage: float = option(0.0, only=ALEXEYAB)
    num_sigmas_reject_badlabels: float = option(0.0, only=ALEXEYAB)
    sequential_subdivisions: int = option(lambda o: o.subdivisions, only=ALEXEYAB)
    dynamic_minibatch: bool = option(False, only=ALEXEYAB)
    contrastive: bool = option(False, only=ALEXEYAB)
    unsupervised: bool = option(False, only=ALEXEYAB)
    label_smooth_eps: float = option(0.0, only=ALEXEYAB)
    attention: bool = option(False, only=ALEXEYAB)
    adversarial_lr: float = option(0.0, only=ALEXEYAB)

    # augmentation
    max_crop: int = option(lambda o: 2 * o.width)
    min_crop: int = option(lambda o: o.width)
    max_ratio: float = option(lambda o: o.max_crop / max(o.width, 1), only=PJREDDIE)
    min_ratio: float = option(lambda o: o.min_crop / max(o.width, 1), only=PJREDDIE)
    center: bool = option(False, only=PJREDDIE)
    random: float = option(0.0, only=PJREDDIE)
    clip: float = option(0.0, only=PJREDDIE)
    angle: float = option(0.0)
    aspect: float = option(1.0)
    saturation: float = option(1.0)
    exposure: float = option(1.0)
    hue: float = option(0.0)
    flip: bool = option(True, only=ALEXEYAB)
    blur: int = option(0, only=ALEXEYAB)
    gaussian_noise: int = option(0, only=ALEXEYAB)
    mixup: int = option(0, only=ALEXEYAB)
    cutmix: bool = option(False, only=ALEXEYAB)
    mosaic: bool = option(False, only=ALEXEYAB)
    mosaic_bound: bool = option(False, only=ALEXEYAB)
    contrastive_jit_flip: bool = option(False, only=ALEXEYAB)
    contrastive_color: bool = option(False, only=ALEXEYAB)
    resize_step: int = option(32, only=ALEXEYAB)
    track: bool = option(False, only=ALEXEYAB)
    augment_speed: int = option(2, only=ALEXEYAB)

    # the C program's own memory and display
    use_cuda_graph: bool = option(False, only=ALEXEYAB)
    optimized_memory: int = option(0, only=ALEXEYAB)
    workspace_size_limit_MB: int = option(1024, only=ALEXEYAB)  # noqa: N815 (Darknet's word)
    max_chart_loss: float = option(20.0, only=ALEXEYAB)
    show_receptive_field: bool = option(False, only=ALEXEYAB)

    def shape(self) -> Shape:
        """Return the shape of one image, or of a vector if only `inputs` is given.

        Raises:
            ShapeError: the section gives neither.
        """
        if self.width and self.height and self.channels:
            return Shape(self.channels, self.height, self.width)
        if self.inputs > 0:
            return Shape(self.inputs)
        raise self.section.error(
            "width, height and channels (or inputs) must be given", kind=ShapeError
        )
