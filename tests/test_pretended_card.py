"""Networks on a card that is not there: nothing stays on the CPU that the card computes with.

support/pretended_card.py says what that shows, and what only a real card does.
"""

import copy
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import keys
import pytest
import torch
from card_losses import has_loss, problems_of_losses, waits_of_a_step
from PIL import Image
from pretended_card import CAN_BE, FROM_CPU, from_card, moved, pretended_card
from small_network import CFG

import darknet_torch as dt
from darknet_torch.errors import DarknetWarning
from darknet_torch.images import decoders
from darknet_torch.images.reading import read
from darknet_torch.images.resizing import letterboxing
from darknet_torch.inference.launched import decode_beside
from darknet_torch.inference.prepared import Reading
from darknet_torch.network import Network

pytestmark = [
    pytest.mark.filterwarnings("ignore::darknet_torch.errors.DarknetWarning"),
    pytest.mark.skipif(not CAN_BE, reason="this torch knows no devices that are written in Python"),
]
MOST_WAITS = 2
"""In a batch: for the number of candidates, and for the candidates."""


@pytest.fixture(scope="module", autouse=True)
def one_thread_and_word_trees() -> Iterator[None]:
    """Trees lie beside the keys."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DARKNET_TORCH_CACHE", str(keys.GOLDEN))
        torch.set_num_threads(1)
        yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", keys.mini_names())
def test_layers(name: str, tmp_path) -> None:
    """Every layer's output is that of the CPU."""
    key = keys.mini(name)
    key.write_weights(tmp_path / "w")
    network = key.load(tmp_path / "w")
    other, x, passes = copy.deepcopy(network), key.input(), key.content["forward_passes"]
    expected = activations(network, x, passes)
    with pretended_card():
        outputs = from_card(activations(moved(other), x.to("card"), passes))
    for one, two in zip(outputs, expected, strict=True):
        assert keys.relative_error(one.numpy(), two.numpy()) <= keys.LIMIT


@torch.no_grad()
def activations(network: Network, x: torch.Tensor, passes: int) -> list[torch.Tensor]:
    for _ in range(passes):
        outputs = network.activations(x)
    return outputs


def test_losses() -> None:
    """So are losses and gradients, and these lie on the card, which is hardly waited for.

    In a new process: torch computes no gradients on devices that came after its first ones.
    """
    names = [name for name in keys.mini_names() if has_loss(name)]
    assert len(names) > 30
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        problems = pool.submit(problems_of_losses, names).result()
        waits = pool.submit(waits_of_a_step).result()
    assert not problems
    assert waits == {"tolist": 1}  # the figures of the batch, and whether all is finite


@pytest.mark.parametrize("threshold", [0.2, 0.45, 0.999])
def test_detect(threshold: float) -> None:
    """Detections are the CPU's, and a batch has few waits, also where images have none."""
    torch.manual_seed(0)
    network = dt.build(CFG)
    other = copy.deepcopy(network)
    images = [torch.randint(256, (3, 48 + 8 * n, 64), dtype=torch.uint8) for n in range(4)]
    expected = dt.detect(network, images, threshold=threshold, batch_size=4)
    assert (sum(map(len, expected)) > 0) == (threshold < 0.9)
    with pretended_card() as card:
        found = dt.detect(moved(other), images, threshold=threshold, batch_size=4)
    for one, two in zip(found, expected, strict=True):
        assert torch.equal(one.class_id, two.class_id)
        assert torch.allclose(one.score, two.score, atol=1e-5)
        assert torch.allclose(one.xyxy, two.xyxy, atol=1e-3)
    del card.waits[FROM_CPU]  # of images: `upload` does not wait on the cards that it knows
    assert sum(card.waits.values()) <= MOST_WAITS, card.waits


def test_jpegs_that_the_card_decodes(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They stay there, of the network's size, and nothing waits for the card."""
    reading = Reading(3, 32, 24, letterboxing, 0, torch.device("cpu"))
    paths = [str(tmp_path / f"{number}.jpg") for number in range(3)]
    for number, path in enumerate(paths):
        pixels = torch.randint(256, (48 + 8 * number, 64, 3), dtype=torch.uint8).numpy()
        Image.fromarray(pixels).save(path)
    monkeypatch.setattr(
        decoders, "_nvjpeg", lambda contents, device: [read(each).to(device) for each in contents]
    )
    images = [replace(reading, decoder="nvjpeg")(path) for path in paths]
    with pretended_card() as card:
        found = decode_beside(images, torch.device("card", 0))
    assert all(each.image.device.type == "card" and each.jpeg is None for each in found)
    for path, each in zip(paths, found, strict=True):
        torch.testing.assert_close(from_card(each.image), reading(path).image, atol=2e-7, rtol=0)
    assert set(card.waits) <= {FROM_CPU}, card.waits


def test_a_network_that_diverged_is_named_without_another_wait() -> None:
    network = dt.build(CFG)
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    with pretended_card() as card, pytest.warns(DarknetWarning, match="outputs of the network are"):
        dt.detect(moved(network), [torch.zeros(3, 64, 64, dtype=torch.uint8)])
    assert card.waits["tolist"] == 1  # of the number of candidates


def test_the_card_refuses_what_lies_on_the_cpu() -> None:
    with pretended_card() as card:
        here, there = torch.arange(3.0), torch.arange(3.0, device="card")
        assert (there.device.type, (there + 1).device.type) == ("card", "card")
        with pytest.raises(AssertionError, match=r"add.Tensor: a tensor \[3\] of the CPU with the"):
            there + here
        assert not card.waits
        assert torch.equal((there * 2).cpu(), here * 2)
        assert float(there[1]) == 1
        assert there.tolist() == [0, 1, 2]
        assert sum(card.waits.values()) == 3
    assert not torch.accelerator.is_available()
