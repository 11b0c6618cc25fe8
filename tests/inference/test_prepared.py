"""Images that are resized on the way, or together on the device of the network."""

from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from PIL import Image
from small_network import CFG

import darknet_torch as dt
from darknet_torch.errors import DarknetError
from darknet_torch.images import decoders
from darknet_torch.images.reading import read
from darknet_torch.images.resizing import letterboxing, stretching
from darknet_torch.inference import detector as detector_module
from darknet_torch.inference import prepared, streaming
from darknet_torch.inference.detector import Detector
from darknet_torch.inference.prepared import Reading, as_batch, decoded


@pytest.fixture
def network() -> dt.Network:
    torch.manual_seed(1)
    return dt.build(CFG, dialect="alexeyab")


@pytest.fixture
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = rng.integers(20, 90, (7, 2))
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def resized_on_the_device(monkeypatch) -> None:
    monkeypatch.setattr(prepared, "_is_for_device", lambda image, _: image.dtype == torch.uint8)


@pytest.mark.parametrize("fitting", [stretching, letterboxing])
def test_the_same_input_either_way(network, images, fitting, monkeypatch):
    here = [Reading.of(network, fitting, 0)(each) for each in images]
    assert not any(each.waits for each in here)
    resized_on_the_device(monkeypatch)
    there = [Reading.of(network, fitting, 0)(each) for each in images]
    assert all(each.waits and each.image.dtype == torch.uint8 for each in there)
    expected = torch.stack([each.pixels for each in here])
    for batch in (as_batch(here, network), as_batch(there, network)):
        torch.testing.assert_close(batch, expected, atol=2e-7, rtol=0)
    mixed = [*here[:3], *there[3:]]
    torch.testing.assert_close(as_batch(mixed, network), expected, atol=2e-7, rtol=0)
    for a, b in zip(here, there, strict=True):
        assert a.placement(True) == b.placement(True)
        assert torch.equal(a.pixels, b.pixels)


def test_fractions_are_resized_here(network, monkeypatch):
    resized_on_the_device(monkeypatch)
    assert not Reading.of(network, stretching, 0)(torch.rand(3, 20, 30)).waits


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("letterbox", [False, True])
def test_the_same_boxes_either_way(network, images, letterbox, batch_size, monkeypatch):
    chosen = {"letterbox": letterbox, "batch_size": batch_size, "threshold": 0.2}
    expected = dt.detect(network, images, **chosen)
    resized_on_the_device(monkeypatch)
    found = dt.detect(network, images, **chosen)
    assert sum(map(len, expected)) > 10
    for a, b in zip(expected, found, strict=True):
        assert torch.equal(a.class_id, b.class_id)
        torch.testing.assert_close(a.xyxy, b.xyxy, atol=1e-3, rtol=0)


def test_the_next_batch_is_launched_during_the_postprocessing_of_the_last(network, images):
    """A device that is no CPU always has work."""
    launched = [Event() for _ in range(4)]

    class Elsewhere:
        device = torch.device("meta")  # no CPU, as far as the stream can tell

        def __getattr__(self, name):
            return getattr(network, name)

    class Watched(Detector):
        batches = 0

        def prepare(self, source):
            return Detector(network).prepare(source)

        def forward(self, images):
            launched[self.batches].set()
            self.batches += 1
            return network(as_batch(images, network))

        def postprocess(self, outputs, images):
            number = found.count(None)
            found.append(None)
            assert number == len(launched) - 1 or launched[number + 1].wait(60)
            return super().postprocess(outputs, images)

    found: list[None] = []
    detector = Watched(Elsewhere(), batch_size=2)
    results = [outcome.result for outcome in detector.stream(iter(images))]
    assert len(found) == len(launched)
    for a, b in zip(results, dt.detect(network, images), strict=True):
        torch.testing.assert_close(a.xyxy, b.xyxy, atol=1e-3, rtol=0)


@pytest.fixture
def files(images, tmp_path):
    """Photographs, one of them turned, and a PNG among them."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for number, image in enumerate(images):
        options = {"exif": exif} if number == 2 else {}
        name = f"{number}.png" if number == 4 else f"{number}.jpg"
        Image.fromarray(image).save(tmp_path / name, **options)
    return sorted(map(str, tmp_path.iterdir()))


@pytest.fixture
def card(monkeypatch):
    """Lists of how many JPEGs a graphics card decodes at once; here Pillow takes its place."""
    calls = []

    def decode(contents, device):
        calls.append(len(contents))
        return [read(content) for content in contents]

    monkeypatch.setattr(decoders, "_nvjpeg", decode)
    monkeypatch.setattr(detector_module, "check_decoder", lambda decoder, device: decoder)
    return calls


def test_batches_are_decoded_on_the_device(network, files, card):
    expected = dt.detect(network, files, threshold=0.2, batch_size=4)
    found = dt.detect(network, files, threshold=0.2, batch_size=4, decoder="nvjpeg", workers=1)
    assert card == [4, 2]  # the seventh is no JPEG
    assert sum(map(len, expected)) > 10
    for a, b in zip(expected, found, strict=True):
        assert torch.equal(a.class_id, b.class_id)
        torch.testing.assert_close(a.xyxy, b.xyxy, atol=1e-3, rtol=0)
        assert (a.width, a.height, a.path) == (b.width, b.height, b.path)


def test_jpegs_are_decoded_ahead_of_the_forward_passes(network, files, card, monkeypatch):
    """While a batch is launched, those behind it are decoded; all in order."""
    begun = [Event() for _ in range(4)]
    plain = streaming.decode_beside

    def decode(images, device):
        next(each for each in begun if not each.is_set()).set()
        return plain(images, torch.device("cpu"))

    class Elsewhere:
        device = torch.device("meta")

        def __getattr__(self, name):
            return getattr(network, name)

    class Watched(Detector):
        batches = 0

        def forward(self, images):
            assert begun[min(self.batches + 2, 3)].wait(20)
            self.batches += 1
            return network(as_batch(images, network))

    monkeypatch.setattr(streaming, "decode_beside", decode)
    expected = dt.detect(network, files, threshold=0.2)
    detector = Watched(Elsewhere(), batch_size=2, decoder="nvjpeg", threshold=0.2)
    outcomes = list(detector.stream(iter(files)))
    assert detector.batches == 4 and sum(card) == 6
    assert [each.source for each in outcomes] == files
    for a, b in zip(outcomes, expected, strict=True):
        torch.testing.assert_close(a.result.xyxy, b.xyxy, atol=1e-3, rtol=0)


def test_few_large_images_lie_on_the_device_at_once(network, files, card, monkeypatch):
    reading = Reading.of(network, stretching, 0, "nvjpeg")
    waiting = [reading(each) for each in files]
    sizes = [3 * each.width * each.height for each in waiting if each.jpeg]
    monkeypatch.setattr(prepared, "AT_ONCE", sum(sizes[:3]))
    here = decoded(waiting, network.device)
    assert card[0] == 3 and len(card) > 1 and sum(card) == 6
    expected = torch.stack([Reading.of(network, stretching, 0)(each).pixels for each in files])
    torch.testing.assert_close(as_batch(here, network), expected, atol=2e-7, rtol=0)
    torch.testing.assert_close(as_batch(waiting, network), expected, atol=2e-7, rtol=0)


def test_what_the_device_refuses_is_decoded_by_pillow(network, files, card, monkeypatch):
    """And what Pillow refuses, too, is the error of that image alone."""
    path = Path(files[0])
    content = bytearray(path.read_bytes())
    start = content.index(b"\xff\xc4")  # its Huffman tables
    content[start + 4 : start + 40] = b"\xff" * 36
    path.write_bytes(content)

    def decode(contents, device):
        raise RuntimeError("no memory")

    monkeypatch.setattr(decoders, "_nvjpeg", decode)
    stream = Detector(network, batch_size=7, decoder="nvjpeg", workers=1).stream(files)
    outcomes = list(stream)
    assert [each.source for each in outcomes] == files
    assert [each.result is None for each in outcomes] == [True, *[False] * 6]
    assert str(outcomes[0].error).startswith(f"{files[0]}: ")
    reading = Reading.of(network, stretching, 0, "nvjpeg")
    with pytest.raises(DarknetError, match=r"0\.jpg"):
        as_batch([reading(files[0])], network)


def test_a_decoder_is_one_of_the_settings(network):
    pytest.importorskip("simplejpeg", reason='needs the extra "turbojpeg"')
    plain, other = Detector(network), Detector(network, decoder="turbojpeg")
    assert plain.settings != other.settings
    assert other.reading.decoder == "turbojpeg"
