"""The second evaluator (support/naive) against Darknet's own numbers: it must earn its trust."""

import sys

import keys
import naive
import numpy as np
import pytest
from keys import LIMIT, Array, Key, relative_error

from darknet_torch.layers.registry import registered
from darknet_torch.parsing import parser
from darknet_torch.parsing.dialect import ALEXEYAB, PJREDDIE

KEYS = [keys.mini(name) for name in keys.mini_names()]
NAMES = [key.name for key in KEYS]


def evaluate(key: Key) -> tuple[naive.Floats, list[Array]]:
    """The floats as they were read, and all outputs of the last pass."""
    floats = naive.Floats(np.concatenate([np.zeros(0), *key.floats()]))
    net, x = naive.Net(key.fork, floats), key.input().numpy()[0]
    for _ in range(key.content["forward_passes"]):
        outputs = net.run(parser.read(key.cfg), x)
    return floats, outputs


@pytest.mark.parametrize("key", KEYS, ids=NAMES)
def test_numbers(key: Key) -> None:
    _, outputs = evaluate(key)
    wrong = keys.STOCK_WRONG.get(key.name, set())
    for output, answer in zip(outputs, key.answers, strict=True):
        whole = key.arrays.get(answer.layer)
        flat = output.reshape(-1)
        error = relative_error(
            flat[keys.sample_indices(answer.size)], answer.samples, answer.largest
        )
        if whole is not None:
            error = max(error, relative_error(flat, whole.reshape(-1), answer.largest))
        assert (error > LIMIT) == (answer.layer in wrong), (answer.layer, answer.section, error)


@pytest.mark.parametrize("key", KEYS, ids=NAMES)
def test_shapes(key: Key) -> None:
    _, outputs = evaluate(key)
    wrong = keys.STOCK_WRONG.get(key.name, set())
    for output, answer in zip(outputs, key.answers, strict=True):
        if answer.layer not in wrong:
            assert output.size == answer.size
            assert output.shape == ((answer.size,) if answer.shape is None else answer.shape)


@pytest.mark.parametrize("key", KEYS, ids=NAMES)
def test_order_of_the_file(key: Key) -> None:
    floats, _ = evaluate(key)
    assert floats.taken == [(each.kind, each.floats) for each in key.segments]
    assert floats.position == key.content["total_floats"]


PACKAGE = {name for name in sys.modules if name.startswith("darknet_torch.")}


def test_every_section_is_there() -> None:
    """Those of the package and no others; `blank` is hank-ai's."""
    for dialect in (PJREDDIE, ALEXEYAB):
        mine = {name for fork, name in naive.REGISTRY if fork == dialect.name}
        theirs = {
            name
            for name, entries in registered().items()
            # other tests register layer types of their own
            if any(dialect.knows(only) and cls.__module__ in PACKAGE for cls, only in entries)
        }
        assert mine == theirs - {"blank"}
