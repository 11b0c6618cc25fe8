"""Random legal cfgs: the package against the second evaluator (support/naive) and against itself.

DARKNET_TORCH_EXAMPLES=N draws N new cfgs for each property; without it the same few are drawn
every time.
"""

import copy
import math
import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keys
import naive
import naive.ends
import naive.sections  # both define how sections are drawn
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from keys import LIMIT, Array
from naive.cfgs import KINDS, Case, cases, is_sane

import darknet_torch as dt
from darknet_torch.errors import CfgError, DarknetWarning, UsageError
from darknet_torch.network import Network
from darknet_torch.network.folding import fold
from darknet_torch.speed.onednn_graph import has_tiny_layers

EXAMPLES = int(os.environ.get("DARKNET_TORCH_EXAMPLES", "0"))
EXACT = 1e-9
"""Largest relative error in float64: enough for other orders of summing up, for nothing else."""
BATCH_LIMIT = 5e-5
HEADS = ("yolo", "Gaussian_yolo", "region", "detection")
RECURRENT = ("rnn", "gru", "lstm", "crnn", "conv_lstm")
FRAGILE = (
    "xnor=1",
    "normalization",
    "lrn",
    "activation=normalize_channels",
    "activation=normalize_channels_softmax",
)
"""Nets in which rounding decides (signs of values near zero, divisions by almost zero) or exp(89).

In float32 they have no comparable numbers; in float64 they are compared as all others.
"""


def examples(count: int) -> Any:
    return settings(
        max_examples=EXAMPLES or count,
        derandomize=not EXAMPLES,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """Trees lie beside the keys; options that one fork ignores are drawn on purpose."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", DarknetWarning)
        patch.setenv("DARKNET_TORCH_CACHE", str(keys.GOLDEN))
        torch.set_num_threads(1)
        yield
    torch.set_num_threads(threads)


def load(case: Case) -> Network:
    """The package's network, with the floats of the case; what it saves must be the same file."""
    with tempfile.TemporaryDirectory() as folder:
        path, again = Path(folder) / "w", Path(folder) / "again"
        path.write_bytes(case.file)
        network = dt.load(case.text, path, dialect=case.fork, mode=case.mode)
        dt.save(network, again)
        assert again.read_bytes() == path.read_bytes()
    return network


def evaluator(case: Case, network: Network) -> naive.Net:
    """The second evaluator; floats that stand in no file it takes from the package."""
    tensors = network.state_dict()
    values = [
        tensors[f"layers.{node.index}.{segment.name}"].numpy()[first:].reshape(-1)
        for node in network.plan
        for first in [0 if node.layer.dontload else node.layer.numload]
        if node.layer.dontload or node.layer.numload
        for segment in node.layer.weights(*node.input_shapes)
        if segment.stored
    ]
    initial = naive.Floats(np.concatenate([np.zeros(0, np.float32), *values]))
    return naive.Net(case.fork, naive.Floats(case.floats), initial, max(case.version) > 1000)


def compute(network: Network, x: Array) -> list[Array]:
    with torch.inference_mode():
        return [each.numpy() for each in network.activations(torch.from_numpy(x))]


def assert_near(actual: Sequence[Array], expected: Sequence[Array], limit: float) -> None:
    """Errors relative to a layer's largest value, or 1 % of the largest before it if it cancels."""
    largest, errors = 1.0, []  # the input's
    for a, b in zip(actual, expected, strict=True):
        errors.append(error_of(a, b, largest / 100))
        largest = max(largest, float(np.nan_to_num(np.abs(b)).max()))
    for index, error in enumerate(errors):
        assert error <= limit, f"layer {index}, errors {errors}"


def error_of(actual: Array, expected: Array, scale: float) -> float:
    """Equal NaNs are equal."""
    if actual.shape != expected.shape:
        return math.inf
    number = ~(np.isnan(actual) & np.isnan(expected))
    actual, expected = actual[number], expected[number]
    return keys.relative_error(actual, expected, max(float(np.abs(expected).max(initial=0)), scale))


def check_structure(case: Case, network: Network, expected: Sequence[Array]) -> None:
    """The plan's shapes are those of the outputs; it reads all floats of the file."""
    shapes = [(s.c,) if s.is_vector else tuple(s) for s in (n.shape for n in network.plan)]
    assert shapes == [each.shape for each in expected]
    assert network.plan.floats == case.floats.size


def doubled(network: Network) -> Network:
    return copy.deepcopy(network).double()


def check_numbers(case: Case) -> None:
    """All outputs of three passes, in float64 without allowance and in float32 with Darknet's."""
    network = load(case)
    exact, other = doubled(network), evaluator(case, network)
    for number, x in enumerate(case.x if network.stateful else case.x[:1]):
        expected = other.run(case.sections, x)
        if not number:
            check_structure(case, network, expected)
            assert other.floats.position == case.floats.size
        assert_near([y[0] for y in compute(exact, x[None].astype(float))], expected, EXACT)
        if not case.has(*FRAGILE):
            assert_near([y[0] for y in compute(network, x[None])], expected, LIMIT)


def test_numbers() -> None:
    seen: Counter[str] = Counter()

    @examples(700)
    @given(case=cases(batch=3))
    def check(case: Case) -> None:
        seen.update({each.name for each in case.sections})
        check_numbers(case)

    check()
    assert len(seen) >= 40, seen


@pytest.mark.parametrize("section", sorted({name for name, _, _ in KINDS}))
def test_each_section(section: str) -> None:
    """Every section, each with many of its options, whatever the draws above came to."""
    seen: Counter[str] = Counter()

    @examples(12)
    @given(case=cases(only=(section,), batch=3))
    def check(case: Case) -> None:
        seen.update(each.name for each in case.sections)
        check_numbers(case)

    check()
    assert seen[section], seen


@examples(60)
@given(case=cases(batch=3))
def test_batches(case: Case) -> None:
    """A batch of three images is three images."""
    network = load(case)
    if case.has(*FRAGILE):
        network = doubled(network)
    x = case.x.astype(float) if case.has(*FRAGILE) else case.x
    together = compute(network, x)
    for number in range(len(x)):
        network.reset()
        single = compute(network, x[number : number + 1])
        assert_near([y[number : number + 1] for y in together], single, BATCH_LIMIT)


@examples(60)
@given(case=cases(only=RECURRENT, batch=3))
def test_state(case: Case) -> None:
    """`forward` remembers what `step` is handed; `reset` forgets."""
    network, state = load(case), None
    inputs = [torch.from_numpy(x[None]) for x in case.x]
    with torch.inference_mode():
        first = []
        for x in inputs:
            kept = as_tuple(network(x))
            before = network._state
            stepped, state = network.step(x, state)
            assert same(kept, as_tuple(stepped))
            assert network._state is before  # `step` leaves the network's own state alone
            first.append(kept)
        network.reset()
        for x, kept in zip(inputs, first, strict=True):
            assert same(kept, as_tuple(network(x)))
        if state:  # a recurrent layer whose output nobody reads keeps none
            with pytest.raises(UsageError):
                network(torch.cat([inputs[0]] * 2))


def same(left: Sequence[torch.Tensor], right: Sequence[torch.Tensor]) -> bool:
    pairs = zip(left, right, strict=True)
    return all(np.array_equal(a.numpy(), b.numpy(), equal_nan=True) for a, b in pairs)


def as_tuple(result: Any) -> tuple[torch.Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


@examples(60)
@given(case=cases())
def test_forward_is_what_activations_show(case: Case) -> None:
    """The maps before the heads, or the last layer that is no [cost]."""
    network = load(case)
    shown = compute(network, case.x)
    network.reset()
    with torch.inference_mode():
        results = [each.numpy() for each in as_tuple(network(torch.from_numpy(case.x)))]
    names = [each.name for each in case.sections[1:]]
    heads = [i for i, name in enumerate(names) if name in HEADS]
    last = max((i for i, name in enumerate(names) if name != "cost"), default=-1)
    expected = [i - 1 for i in heads] or [last]
    assert len(results) == len(expected)
    for result, index in zip(results, expected, strict=True):
        assert np.array_equal(result, shown[index] if index >= 0 else case.x, equal_nan=True)


def test_graphs_of_onednn() -> None:
    """Networks of tiny layers, as `optimize` runs them: what the plain network computes."""
    graphs = 0

    @examples(120)
    @given(case=cases(batch=3))
    def check(case: Case) -> None:
        nonlocal graphs
        network = load(case)
        if case.has(*FRAGILE) or not has_tiny_layers(fold(network)):
            return
        fast = dt.optimize(network)
        for images in (case.x[:1], case.x):
            x = torch.from_numpy(images)
            with torch.inference_mode():
                results = [[y.numpy() for y in as_tuple(run(x))] for run in (fast, network)]
            assert_near(*results, LIMIT)
        graphs += fast._graph_of is not None

    check()
    assert graphs > 5


@examples(60)
@given(case=cases())
def test_what_was_built_can_be_saved_and_loaded(case: Case) -> None:
    """Random start values too: the numbers and the bytes survive the file."""
    network = dt.build(case.text, dialect=case.fork, mode=case.mode)
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "first", Path(folder) / "second"
        dt.save(network, first)
        again = dt.load(case.text, first, dialect=case.fork, mode=case.mode)
        dt.save(again, second)
        assert first.read_bytes() == second.read_bytes()
        assert first.stat().st_size == 20 + 4 * case.floats.size
    if not case.has("dontload", "numload"):
        mine, theirs = compute(network, case.x), compute(again, case.x)
        assert_near(mine, theirs, BATCH_LIMIT)  # other alignment, other order of summing up


@examples(150)
@given(case=cases(batch=1), rows=st.integers(1, 16), columns=st.integers(1, 16))
def test_other_input_sizes(case: Case, rows: int, columns: int) -> None:
    """An image of another size: computed as by a cfg of that size, or refused in one line."""
    if case.x.ndim == 4:
        check_other_size(case, rows, columns)


def check_other_size(case: Case, rows: int, columns: int) -> None:
    network = doubled(load(case))
    x = np.random.default_rng(0).uniform(0, 1, (*case.x.shape[:2], rows, columns))
    try:
        actual = compute(network, x)
    except CfgError:
        return
    other, sections = evaluator(case, network), case.sections
    expected = other.run(sections, x[0])
    assert other.floats.position == case.floats.size
    if all(is_sane(each) for each in expected):
        assert_near([y[0] for y in actual], expected, EXACT)


@pytest.mark.parametrize("size", [(1, 1), (4, 6)], ids=str)
@pytest.mark.parametrize("section", ["crnn", "conv_lstm"])
def test_convolutional_states_take_other_sizes(section: str, size: tuple[int, int]) -> None:
    text = f"[net]\nwidth=4\nheight=4\nchannels=1\n[{section}]\npad=1\n"
    count = 3 * 10 if section == "crnn" else 8 * 10
    floats = naive.Drawn(0).take("weights", count, 9)
    check_other_size(Case("alexeyab", text, floats, np.zeros((1, 1, 4, 4), np.float32)), *size)


def test_local_takes_no_other_size() -> None:
    text = "[net]\nwidth=11\nheight=4\nchannels=1\n[local]\nsize=3\n"
    floats = naive.Drawn(0).take("weights", 18 * 10, 9)
    check_other_size(Case("pjreddie", text, floats, np.zeros((1, 1, 4, 11), np.float32)), 5, 8)
