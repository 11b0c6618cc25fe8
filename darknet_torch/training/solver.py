"""The solver: one step of SGD or Adam with Darknet's numbers, from [net] and each layer's options.

Options of AlexeyAB's GPU code that only keep its half-precision arithmetic alive have no effect
here: loss_scale, try_fix_nan, weights_reject_freq, and the bound of 1 for gradients of [shortcut].
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from darknet_torch.errors import UsageError, warn
from darknet_torch.network.net_section import Net
from darknet_torch.network.network import Network
from darknet_torch.training.learning_rate import rate
from darknet_torch.training.rules import NEVER, Rule, rules

__all__ = ["Solver", "batch_size", "make_optimizer"]


class Solver:
    """The optimizer of a network, and what belongs to a step of training.

        solver = Solver(network)
        solver.begin()
        for each micro-batch of batch n:
            (solver.scaled(loss.total)).backward()
        solver.step(n)

    Args:
        network: the network that is trained; what is frozen needs no gradient from now on.
        net: options of [net], where they are others than in its cfg; None: those of its cfg.
        batch: number of images of one update, of all subdivisions and ranks; None: as [net] has it.
        freeze: number of first layers that are not trained, their batch norm included.
        ema_alpha: decay of the exponential moving average of the weights, 0 for none; None: as
            [net] has it.
        as_darknet: repeat what Darknet does and nobody wants: AlexeyAB's code never updates
            [connected], [local], [rnn] and others; weights decay in layers that get no gradient.
        seed: of `policy=random`.

    Attributes:
        optimizer: torch.optim.SGD or Adam.
        ema: the averaged network; None without. Until batch `ema_from` it is no average.
        rate_factor: of all learning rates; 1 unless it is changed.
        ema_from: number of the batch that the average starts with: half of max_batches.

    Raises:
        UsageError: an argument is wrong, or no layer is left to train.
    """

    def __init__(
        self,
        network: Network,
        *,
        net: Net | None = None,
        batch: int | None = None,
        freeze: int = 0,
        ema_alpha: float | None = None,
        as_darknet: bool = False,
        seed: int = 0,
    ) -> None:
        self.network, self.net, self.seed = network, net or network.plan.net, seed
        self.batch = batch_size(self.net) if batch is None else batch
        if self.batch < 1:
            raise UsageError(f"batch={self.batch}: must be at least 1")
        self.rate_factor = 1.0
        self._dialect = network.plan.context.dialect
        if self.net.policy in self._dialect.lacks_policies:
            warn(
                f"{self.net.section.where()}: policy={self.net.policy}: {self._dialect.name} does"
                " not know it and keeps the learning rate constant"
            )
        frozen = set(network.layers[:freeze].modules())
        self._modes = [(each, each not in frozen) for each in network.modules()]
        self._rules = rules(network, self.net, freeze=freeze, as_darknet=as_darknet)
        self._as_darknet = as_darknet
        for rule in self._rules:
            rule.parameter.requires_grad_(rule.trained)
        for node in network.plan:
            if node.layer.onlyforward:
                network.layers[node.index].register_forward_hook(_detach)
        self.optimizer = make_optimizer(self._rules, self.net, self.batch)
        alpha = self.net.ema_alpha if ema_alpha is None else ema_alpha
        self.ema = make_ema(network, alpha) if alpha else None
        self.ema_from = self.net.max_batches // 2

    def begin(self) -> None:
        """Put the network into training mode, except what is frozen, and forget gradients."""
        for module, mode in self._modes:
            if module.training != mode:  # to set all takes ten times as long
                module.train(mode)
        self.optimizer.zero_grad(set_to_none=True)

    def scaled(self, total: Tensor) -> Tensor:
        """Return what is back-propagated for the loss of a micro-batch, summed over its images.

        With `B` images in a batch Darknet has (its updates are minus the gradients' sums):

            update = momentum * update - sum of gradients - decay * B * weight
            weight = weight + rate / B * update

        which is torch.optim.SGD on gradients divided by B, with its momentum buffer -update / B:

            buffer = momentum * buffer + sum of gradients / B + decay * weight
            weight = weight - rate * buffer

        Under DistributedDataParallel, which takes the mean over ranks, multiply by their number.
        """
        return total / self.batch

    def step(
        self,
        batch_number: int,
        scaler: torch.amp.GradScaler | None = None,
        *,
        size: float = 1.0,
    ) -> float:
        """Update the weights from the gradients of a batch, and forget these.

        Args:
            batch_number: of the batch, from 1; it decides the learning rate, and which layers
                learn already.
            scaler: of float16, if the loss was scaled by it.
            size: images of this batch, compared with `batch`; see `dynamic_minibatch`. Momentum is
                the sum of earlier gradients in Darknet, whatever the sizes of their batches, so
                that the rate changes here, not the buffers.

        Returns:
            The learning rate.
        """
        value = rate(self.net, self._dialect, batch_number, seed=self.seed) * self.rate_factor
        for group in self.optimizer.param_groups:
            step = value if self.net.adam else value / size
            group["lr"] = step * group["rate_factor"]
            group["weight_decay"] = group["decay"] * size
        self._choose_gradients(batch_number)
        if scaler is None:
            self.optimizer.step()
        else:
            scaler.step(self.optimizer)
            scaler.update()
        self._clip()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema is not None and batch_number >= self.ema_from:
            self.ema.update_parameters(self.network)
        return value

    def averaged(self) -> Network:
        """Return the network to evaluate and save: the average, once there is one."""
        if self.ema is None or int(self.ema.n_averaged) == 0:
            return self.network
        return cast(Network, self.ema.module)

    def _choose_gradients(self, batch_number: int) -> None:
        """Drop the gradients of parameters whose time has not come."""
        for rule in self._rules:
            parameter = rule.parameter
            if batch_number < rule.updated_from:
                parameter.grad = None
                continue
            if batch_number < rule.learns_from or (self._as_darknet and parameter.grad is None):
                parameter.grad = torch.zeros_like(parameter)
            if self._dialect.adam_counts_batches and isinstance(self.optimizer, Adam):
                _count_from_the_first_batch(self.optimizer, parameter, batch_number)

    @torch.no_grad()
    def _clip(self) -> None:
        for rule in self._rules:
            if rule.clip and rule.parameter.grad is not None:
                rule.parameter.clamp_(-rule.clip, rule.clip)


def batch_size(net: Net) -> int:
    """Return the images of one update, as Darknet counts them: time steps are images too.

    Raises:
        UsageError: there are fewer images than subdivisions.
    """
    if net.batch < net.subdivisions or net.subdivisions < 1:
        raise UsageError(
            f"{net.section.where()}: batch={net.batch}: must be at least"
            f" subdivisions={net.subdivisions}, which must be at least 1"
        )
    return net.batch // net.subdivisions * net.subdivisions * max(net.time_steps, 1)


def make_optimizer(rules: Sequence[Rule], net: Net, batch: int) -> Optimizer:
    """Return torch's SGD, or Adam with `adam=1`, with a group for each factor and decay.

    Both take gradients of a mean over the batch. Darknet's Adam takes their sum instead, and a
    decay of `decay * B`; as Adam's steps do not depend on the gradients' scale but for epsilon,
    they are the same with epsilon / B.

    Args:
        rules: how each parameter is trained; those that are never updated are left out.
        net: options of [net]: momentum, decay, adam, B1, B2, eps.
        batch: images of one update, B.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for rule in rules:
        if rule.updated_from < NEVER:
            decay = net.decay if rule.decayed or net.adam else 0.0
            groups.setdefault((rule.rate_factor, decay), []).append(rule.parameter)
    named: list[dict[str, Any]] = [
        {"params": parameters, "rate_factor": factor, "decay": decay, "weight_decay": decay}
        for (factor, decay), parameters in groups.items()
    ]
    try:
        return _optimizer(named, net, batch, fused=True)
    except RuntimeError:  # the device has no fused kernels
        return _optimizer(named, net, batch, fused=None)


def _optimizer(
    groups: list[dict[str, Any]], net: Net, batch: int, *, fused: bool | None
) -> Optimizer:
    groups = [dict(group) for group in groups]
    if net.adam:
        betas = (net.B1, net.B2)
        return Adam(groups, lr=net.learning_rate, betas=betas, eps=net.eps / batch, fused=fused)
    return SGD(groups, lr=net.learning_rate, momentum=net.momentum, fused=fused)


def _count_from_the_first_batch(
    optimizer: Adam, parameter: nn.Parameter, batch_number: int
) -> None:
    """Let the steps of Adam count from the first batch of all, as AlexeyAB's do."""
    state = optimizer.state[parameter]
    if not state and parameter.grad is not None:
        device = parameter.device if optimizer.defaults["fused"] else None
        state["step"] = torch.tensor(float(batch_number - 1), device=device)
        state["exp_avg"] = torch.zeros_like(parameter)
        state["exp_avg_sq"] = torch.zeros_like(parameter)


def make_ema(network: Network, alpha: float) -> AveragedModel:
    """Return the exponential moving average of a network's weights and running statistics.

    Args:
        network: the network; the average is a copy of it, in eval mode.
        alpha: what each update keeps of the average before, in 0..1.

    Raises:
        UsageError: alpha is not in 0..1.
    """
    if not 0 <= alpha <= 1:
        raise UsageError(f"ema_alpha={alpha}: must be in 0..1")
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(alpha), use_buffers=True)
    average.requires_grad_(False)
    return average.eval()


def _detach(_module: nn.Module, _inputs: Any, output: Any) -> Any:
    """Let no gradient through a layer with `onlyforward=1`."""
    if isinstance(output, Tensor):
        return output.detach()
    return tuple(each.detach() for each in output)
