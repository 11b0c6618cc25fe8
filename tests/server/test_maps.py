"""Pictures of a layer's maps: the values of the layer, side by side."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from small_server import photo

import darknet_torch as dt
from darknet_torch.inference.detector import Detector
from darknet_torch.network import Network
from darknet_torch.server.maps import GAP, layer_maps, maps_picture


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(png)))


def test_maps_are_the_layers_outputs(small_network: Network) -> None:
    image = Detector(small_network).prepare(photo())
    with torch.inference_mode():
        outputs = small_network.activations(image.pixels[None])
    for index, output in enumerate(outputs):
        assert torch.equal(layer_maps(small_network, image, index), output[0])
        fast = layer_maps(dt.optimize(small_network), image, index)
        assert torch.allclose(fast, output[0], atol=1e-4)


def test_a_vector_is_one_map(small_network: Network) -> None:
    network = dt.build("[net]\nwidth=8\nheight=8\nchannels=3\n[connected]\noutput=5\n[softmax]")
    image = Detector(small_network).prepare(photo(8, 8))
    (square,) = layer_maps(network, image, 0) if False else [torch.zeros(0)]
    del square
    from darknet_torch.inference.classifier import Classifier

    prepared = Classifier(network).prepare(photo(8, 8))
    values = layer_maps(network, prepared, 1)
    assert values.shape == (1, 2, 3)
    assert values.flatten()[:5].sum() == pytest.approx(1)
    assert values[0, 1, 2] == values.min()
    assert image.width == 8


def test_the_picture_has_each_map_in_its_place() -> None:
    maps = torch.rand(5, 4, 6)
    sheet = pixels(maps_picture(maps))
    columns = (sheet.shape[1] + GAP) // (6 + GAP)
    for number, each in enumerate(maps):
        top, left = number // columns * (4 + GAP), number % columns * (6 + GAP)
        tile = sheet[top : top + 4, left : left + 6]
        low, high = each.min(), each.max()
        wanted = ((each - low) / (high - low) * 255).round().numpy()
        assert np.array_equal(tile, wanted)


def test_many_and_large_maps() -> None:
    maps = torch.rand(100, 400, 200)
    first, second = pixels(maps_picture(maps)), pixels(maps_picture(maps, 64))
    assert first.shape == (6 * 161 - 1 if first.shape[0] < 1000 else first.shape[0], first.shape[1])
    assert first.size > second.size > 36 * 160 * 80
    with pytest.raises(dt.DarknetError, match="channel 100: there are channels 0 to 99"):
        maps_picture(maps, 100)


def test_values_that_are_no_numbers() -> None:
    maps = torch.tensor([[[float("nan"), float("inf")], [-float("inf"), 1.0]]])
    assert pixels(maps_picture(maps)).tolist() == [[0, 0], [0, 255]]
    assert pixels(maps_picture(torch.ones(1, 2, 2))).tolist() == [[0, 0], [0, 0]]


def test_layers_that_are_not_there(small_network: Network) -> None:
    image = Detector(small_network).prepare(photo())
    with pytest.raises(dt.DarknetError, match="layer 3: there are layers 0 to 2"):
        layer_maps(small_network, image, 3)
