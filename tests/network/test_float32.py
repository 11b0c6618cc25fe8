"""float32 products are exact while a network runs, and torch's settings stay as they were."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from small_network import CFG
from torch import Tensor, nn

import darknet_torch as dt
from darknet_torch.network.float32 import float32_products

CPU, CARD = torch.device("cpu"), torch.device("cuda")
State = tuple[Any, ...]


def settings() -> State:
    """All settings of torch; "contradicted" where it refuses to read one."""
    cudnn, onednn = torch.backends.cudnn, torch.backends.mkldnn
    parts: list[Any] = [cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul]  # type: ignore[attr-defined]
    parts += [onednn.conv, onednn.rnn, onednn.matmul]  # type: ignore[attr-defined]
    return (
        *(part.fp32_precision for part in parts),
        torch.get_float32_matmul_precision(),
        old(lambda: torch.backends.cudnn.allow_tf32),
        old(lambda: torch.backends.cuda.matmul.allow_tf32),
    )


def old(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except RuntimeError:
        return "contradicted"


def rounds(state: State) -> bool:
    """Whether some product would be rounded."""
    return bool({"tf32", "bf16", "high", "medium", True} & set(state))


def by_default() -> None:
    """torch's own settings, which round the convolutions of cards."""


def all_round() -> None:
    torch.set_float32_matmul_precision("medium")


def exact() -> None:
    torch.backends.cudnn.allow_tf32 = False


def contradicting() -> None:
    torch.set_float32_matmul_precision("high")
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True


@pytest.mark.parametrize("device", [CPU, CARD], ids=str)
@pytest.mark.parametrize("change", [by_default, all_round, exact, contradicting])
def test_settings_hold_inside_and_are_restored(
    change: Callable[[], None], device: torch.device
) -> None:
    change()
    before = settings()
    with float32_products(device):
        inside = settings()
        assert not rounds(inside[3:6] if device == CPU else inside[:3])
    assert settings() == before
    with pytest.raises(ZeroDivisionError), float32_products(device):
        raise ZeroDivisionError
    assert settings() == before


def test_tf32_on_request() -> None:
    exact()
    before = settings()
    with float32_products(CARD, "tf32"):
        assert settings()[:3] == ("tf32", "tf32", "tf32")
        with float32_products(CARD):  # of a network inside an optimized one
            assert settings()[:3] == ("tf32", "tf32", "tf32")
    assert settings() == before


def test_threads_share_the_settings_and_the_last_restores_them() -> None:
    before, order = settings(), list[str]()
    first_is_in, second_is_done = threading.Event(), threading.Event()

    def first() -> None:
        with float32_products(CARD):
            first_is_in.set()
            second_is_done.wait(10)
            order.append("first" if not rounds(settings()[:3]) else "rounded")

    def third() -> None:
        with float32_products(CARD, "tf32"):
            order.append("third" if settings()[0] == "tf32" else "exact")

    threads = [threading.Thread(target=each) for each in (first, third)]
    threads[0].start()
    first_is_in.wait(10)
    with float32_products(CARD):
        pass
    assert not rounds(settings()[:3])  # the first still runs
    threads[1].start()  # waits for it
    second_is_done.set()
    for thread in threads:
        thread.join(10)
    assert order == ["first", "third"]
    assert settings() == before


@pytest.mark.parametrize("optimized", [False, True], ids=["plain", "optimized"])
def test_networks_compute_exactly(optimized: bool) -> None:
    all_round()
    before, seen = settings(), list[State]()
    network = dt.build(CFG)
    runs: nn.Module = dt.optimize(network, compile=False) if optimized else network
    inner = runs.network if optimized else network

    def note(*_: object) -> None:
        seen.append(settings())

    for layer in inner.layers:  # type: ignore[union-attr]
        layer.register_forward_hook(note)
    runs(images())
    assert seen and not any(rounds(state[3:6]) for state in seen)
    assert settings() == before


def images() -> Tensor:
    return torch.rand(1, 3, 64, 64)
