"""The network as an nn.Module: what it returns, keeps and refuses; what compilers make of it."""

import gc
import weakref
from pathlib import Path
from typing import Any

import keys
import pytest
import torch
import torch.nn.functional as F
from constants import strange_constants
from torch import Tensor, nn

import darknet_torch as dt
from darknet_torch.errors import CfgError, DarknetError, DarknetWarning, ShapeError, UsageError
from darknet_torch.network import Network

# Two heads, a residual block, a part of a route, and an upsampling: stride 8.
SMALL = """[net]
width=32
height=24
channels=3
[convolutional]
filters=8
size=3
pad=1
stride=2
batch_normalize=1
activation=leaky
[convolutional]
filters=8
size=1
activation=mish
[convolutional]
filters=8
size=3
pad=1
activation=linear
[shortcut]
from=-3
activation=leaky
[maxpool]
size=2
stride=2
[convolutional]
filters=16
size=3
pad=1
stride=2
batch_normalize=1
activation=leaky
[convolutional]
filters=14
size=1
activation=linear
[yolo]
classes=2
num=2
anchors=4,5, 6,7
[route]
layers=5
groups=2
group_id=1
[upsample]
stride=2
[route]
layers=-1,4
[maxpool]
size=5
stride=1
[convolutional]
filters=14
size=1
activation=linear
[yolo]
classes=2
num=2
anchors=4,5, 6,7
"""
HEADS = (7, 13)


def small(width: int = 32, height: int = 24, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    network = dt.build(SMALL, width=width, height=height)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_mean, -0.5, 0.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return network


def image(batch: int = 1, height: int = 24, width: int = 32, seed: int = 1) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def naive(network: Network, x: Tensor) -> list[Tensor]:
    """Every output of SMALL, written out by hand."""
    values = network.state_dict()

    def conv(index: int, x: Tensor, stride: int = 1) -> Tensor:
        weight = values[f"layers.{index}.conv.weight"]
        bias = values.get(f"layers.{index}.conv.bias")
        x = F.conv2d(x, weight, bias, stride=stride, padding=weight.shape[-1] // 2)
        if bias is not None:
            return x
        norm = {
            k: values[f"layers.{index}.bn.{k}"]
            for k in ("weight", "bias", "running_mean", "running_var")
        }
        column = {k: v[None, :, None, None] for k, v in norm.items()}
        x = (x - column["running_mean"]) / (column["running_var"] + 1e-5).sqrt()
        return x * column["weight"] + column["bias"]

    def leaky(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0.1 * x)

    def yolo(x: Tensor) -> Tensor:
        parts = list(x.split(1, dim=1))
        return torch.cat(
            [p if k % 7 in (2, 3) else torch.sigmoid(p) for k, p in enumerate(parts)], 1
        )

    out = [leaky(conv(0, x, 2))]
    out.append(conv(1, out[0]))
    out[1] = out[1] * torch.tanh(torch.log1p(out[1].exp()))
    out.append(conv(2, out[1]))
    out.append(leaky(out[2] + out[0]))
    out.append(out[3].unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(4, 5)))
    out.append(leaky(conv(5, out[4], 2)))
    out.append(conv(6, out[5]))
    out.append(yolo(out[6]))
    out.append(out[5][:, 8:])
    out.append(out[8].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
    out.append(torch.cat((out[9], out[4]), dim=1))
    padded = F.pad(out[10], (2, 2, 2, 2), value=-1e30)
    out.append(padded.unfold(2, 5, 1).unfold(3, 5, 1).amax(dim=(4, 5)))
    out.append(conv(12, out[11]))
    out.append(yolo(out[12]))
    return out


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
@torch.no_grad()
def test_forward_returns_the_raw_maps(training: bool) -> None:
    network = small()
    expected = naive(network, image(2))
    assert not network.training
    network.train(training)
    for module in network.modules():  # batch statistics would be other numbers, on purpose
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    outputs = network(image(2))
    assert isinstance(outputs, tuple)
    assert [tuple(raw.shape) for raw in outputs] == [(2, 14, 3, 4), (2, 14, 6, 8)]
    for raw, index in zip(outputs, HEADS, strict=True):
        close(raw, expected[index - 1])


def test_train_mode_returns_the_same_kind() -> None:
    outputs = small().train()(image(2))
    assert isinstance(outputs, tuple)
    assert [tuple(raw.shape) for raw in outputs] == [(2, 14, 3, 4), (2, 14, 6, 8)]
    sum(raw.sum() for raw in outputs).backward()


@torch.no_grad()
def test_activations() -> None:
    network = small()
    outputs, expected = network.activations(image(2)), naive(network, image(2))
    assert len(outputs) == len(expected) == len(network.plan) == 14
    for node, one, other in zip(network.plan, outputs, expected, strict=True):
        assert tuple(one.shape[1:]) == tuple(node.shape)
        close(one, other)


@pytest.mark.parametrize(
    ("cfg", "shape"),
    [
        ("[avgpool]", (2, 3, 1, 1)),
        ("[avgpool]\n[softmax]", (2, 3)),
        ("[avgpool]\n[softmax]\n[cost]", (2, 3)),
        ("[connected]\noutput=7\n[dropout]", (2, 7, 1, 1)),
    ],
)
def test_without_head_the_last_layer_is_returned(cfg: str, shape: tuple[int, ...]) -> None:
    network = dt.build(f"[net]\nwidth=8\nheight=8\nchannels=3\n{cfg}\n")
    outputs = network(torch.rand(2, 3, 8, 8))
    assert isinstance(outputs, Tensor)
    assert outputs.shape == shape


@torch.no_grad()
def test_the_result_is_the_layer_before_cost() -> None:
    network = dt.build("[net]\nwidth=8\nheight=8\nchannels=3\n[avgpool]\n[cost]\n")
    x = torch.rand(2, 3, 8, 8)
    close(network(x), x.mean(dim=(2, 3), keepdim=True))
    pooled, cost = network.activations(x)
    assert torch.equal(pooled, network(x))
    assert torch.equal(cost, torch.zeros(2, 3))


@pytest.mark.parametrize("size", [(24, 32), (8, 8), (40, 16), (64, 96)])
@torch.no_grad()
def test_other_sizes_are_as_if_loaded_at_that_size(size: tuple[int, int]) -> None:
    height, width = size
    x = image(1, height, width)
    for one, other in zip(small()(x), small(width, height)(x), strict=True):
        assert torch.equal(one, other)


@torch.no_grad()
def test_a_batch_is_its_pictures_one_by_one() -> None:
    network, x = small(), image(3)
    for index, raws in enumerate(zip(*(network(x[k : k + 1]) for k in range(3)), strict=True)):
        close(network(x)[index], torch.cat(raws))


@torch.no_grad()
def test_an_empty_batch() -> None:
    assert [tuple(raw.shape) for raw in small()(image()[:0])] == [(0, 14, 3, 4), (0, 14, 6, 8)]
    vectors = dt.build("[net]\ninputs=5\n[connected]\noutput=2\n")
    assert vectors(torch.rand(0, 5)).shape == (0, 2, 1, 1)


class Forbidden(nn.Module):
    def forward(self, *_: Tensor) -> Tensor:
        pytest.fail("something was computed")


def without_computing(network: Network) -> Network:
    network.layers = nn.ModuleList(Forbidden() for _ in network.layers)
    return network


@pytest.mark.parametrize(
    "shape",
    [(3, 24, 32), (1, 4, 24, 32), (1, 1, 24, 32), (24, 32), (), (1, 3, 24), (1, 24, 32, 3), (5,)],
)
def test_inputs_of_another_shape(shape: tuple[int, ...]) -> None:
    network = without_computing(small())
    for call in (network, network.activations):
        with pytest.raises(UsageError, match=r"must be \(B, 3, H, W\)") as caught:
            call(torch.zeros(shape))
        assert str(shape) in str(caught.value)


@pytest.mark.parametrize("size", [(25, 32), (4, 4), (24, 36), (0, 32)])
def test_sizes_that_do_not_fit(size: tuple[int, int]) -> None:
    """25 rows become 7 before the upsampling and 8 behind it."""
    network = without_computing(small())
    with pytest.raises(ShapeError, match=r"<cfg>:\d+: \["):
        network(torch.zeros(1, 3, *size))


def test_a_layer_that_fixes_the_size() -> None:
    network = without_computing(
        dt.build("[net]\nwidth=8\nheight=8\nchannels=3\n[connected]\noutput=2\n")
    )
    message = r"<cfg>:5: \[connected\]: fixes the size of the input at 8 x 8, it cannot be 16 x 8"
    with pytest.raises(ShapeError, match=message):
        network(torch.zeros(1, 3, 8, 16))


def test_vectors() -> None:
    network = dt.build("[net]\ninputs=6\n[connected]\noutput=2\n")
    assert network(torch.rand(4, 6)).shape == (4, 2, 1, 1)
    assert network(torch.rand(4, 6, 1, 1)).shape == (4, 2, 1, 1)
    for shape in ((4, 5), (6,), ()):
        with pytest.raises(UsageError, match=r"must be \(B, 6\)"):
            without_computing(network)(torch.zeros(shape))


NET = "[net]\nwidth=8\nheight=4\nchannels=2\n"


@pytest.mark.parametrize(
    "layer",
    [
        "[convolutional]\nsize=5\n",  # 4 rows leave none: no vector, but an error
        "[maxpool]\nsize=5\npadding=0\n",
        "[maxpool]\nsize=5\npadding=0\n[softmax]\n",
        "[local]\nsize=5\n",
        "[convolutional]\nsize=6\n",
        "[convolutional]\n[convolutional]\nshare_index=0\nsize=2000000001\npad=1\n",
        "[maxpool]\nsize=2\nstride=2000000000\npadding=2000000000\n",
    ],
)
def test_a_layer_that_cannot_be_is_refused_with_its_line(layer: str) -> None:
    with pytest.raises(CfgError, match=r"^<cfg>:\d+: \[\w+\]: "):
        dt.build(NET + layer)


@pytest.mark.filterwarnings("ignore::darknet_torch.errors.DarknetWarning")
@pytest.mark.parametrize(
    "layers",
    [
        "[maxpool]\nsize=1\nstride=2\npadding=1\n",
        "[local_avgpool]\nsize=2\nantialiasing=2\n",
        "[softmax]\n[shortcut]\nfrom=-1\nweights_type=per_channel\nweights_normalization=relu\n",
        "[softmax]\n[shortcut]\nfrom=-1\nweights_type=per_layer\nweights_normalization=relu\n",
    ],
)
def test_outputs_have_the_shape_that_was_planned(layers: str) -> None:
    """Unless the plan refuses them."""
    try:
        network = dt.build(NET + layers)
    except CfgError:
        return
    for node, out in zip(network.plan, network.activations(torch.rand(3, 2, 4, 8)), strict=True):
        expected = (node.shape.c,) if node.shape.is_vector else tuple(node.shape)
        assert tuple(out.shape) == (3, *expected), node.name


# Two maps of one size where the picture's is even, and of two where it is odd.
UNEVEN = """[net]
width=8
height=8
channels=2
[maxpool]
[convolutional]
filters=2
size=1
stride=2
[route]
layers=0
[convolutional]
filters=2
size=2
stride=2
"""


@pytest.mark.parametrize(
    ("tail", "dialect"),
    [
        ("[route]\nlayers=1,3\n", "alexeyab"),
        ("[shortcut]\nfrom=1\nactivation=linear\n", "pjreddie"),
        ("[shortcut]\nfrom=1\nactivation=linear\n", "alexeyab"),
    ],
)
@torch.no_grad()
def test_maps_that_agree_at_some_sizes_only(tail: str, dialect: str) -> None:
    """Either it is computed as by a network made for that size, or refused: no torch error."""
    cfg = UNEVEN + tail
    torch.manual_seed(0)
    network = dt.build(cfg, dialect=dialect)
    assert network(torch.rand(1, 2, 8, 8)).dim() == 4
    x = torch.rand(1, 2, 9, 9)
    try:
        outputs = network(x)
    except ShapeError:
        return
    torch.manual_seed(0)
    assert torch.equal(outputs, dt.build(cfg, dialect=dialect, width=9, height=9)(x))


@torch.no_grad()
def test_activations_are_freed_after_their_last_use() -> None:
    """At no time more maps are alive than the layers to come still need, and the two at work."""
    network = small()
    alive: list[tuple[int, weakref.ref[Tensor]]] = []
    most: list[tuple[int, list[int]]] = []

    def before(index: int) -> Any:
        def hook(*_: Any) -> None:
            most.append((index, [k for k, ref in alive if ref() is not None]))

        return hook

    def behind(index: int) -> Any:
        def hook(_module: nn.Module, _args: Any, out: Tensor) -> None:
            alive.append((index, weakref.ref(out)))

        return hook

    for index, layer in enumerate(network.layers):
        layer.register_forward_pre_hook(before(index))
        layer.register_forward_hook(behind(index))
    gc.disable()  # a cycle that only the collector frees would be a leak of memory on a GPU
    try:
        outputs = network(image())
    finally:
        gc.enable()
    needs = {node.index: node.inputs for node in network.plan if node.index not in HEADS}
    for now, kept in most:
        expected = {i for k, inputs in needs.items() if k >= now for i in inputs if 0 <= i < now}
        expected |= {index - 1 for index in HEADS if index - 1 < now}
        # half of a route's source is a view that holds it
        expected |= {5} if 8 in expected else set()
        assert set(kept) <= expected, f"before layer {now}"
    assert [index for index, _ in most] == [k for k in range(14) if k not in HEADS]
    assert max(len(kept) for _, kept in most) == 4  # layers 4, 5, 6 and half of 5
    del outputs
    assert all(ref() is None for _, ref in alive)


def test_layers_behind_the_last_head_are_not_computed() -> None:
    network = dt.build(SMALL + "[route]\nlayers=0\n[convolutional]\nfilters=2\n")
    network.layers[14], network.layers[15] = Forbidden(), Forbidden()
    assert len(network(image())) == 2


def test_names_of_the_tensors() -> None:
    keys = set(small().state_dict())
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    expected = {f"layers.{k}.conv.weight" for k in (0, 1, 2, 5, 6, 12)}
    expected |= {f"layers.{k}.conv.bias" for k in (1, 2, 6, 12)}
    expected |= {f"layers.{k}.bn.{name}" for k in (0, 5) for name in norm}
    assert keys == expected


@torch.no_grad()
def test_state_dict_there_and_back(tmp_path: Path) -> None:
    one, other = small(seed=1), small(seed=2)
    torch.save(one.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(one(image())[0], other(image())[0])


def test_building_is_repeatable_and_random() -> None:
    assert torch.equal(small(seed=3).layers[0].conv.weight, small(seed=3).layers[0].conv.weight)
    assert not torch.equal(small(seed=3).layers[0].conv.weight, small(seed=4).layers[0].conv.weight)


def test_properties() -> None:
    network = small()
    assert network.input_size == (32, 24)
    assert network.plan.stride == (8, 8)
    assert network.plan.heads == HEADS
    assert network.plan.outputs == (6, 12)
    assert not any(tensor.is_meta for tensor in network.state_dict().values())


@torch.no_grad()
def test_moves_between_types() -> None:
    network = small()
    expected = network(image())
    for raw, other in zip(expected, network.double()(image().double()), strict=True):
        assert other.dtype == torch.float64
        close(raw, other.float())


def test_fx() -> None:
    """Tools that rewrite graphs (quantisation, fusing) begin with it."""
    network, x = small(), image(2).contiguous(memory_format=torch.channels_last)
    traced = torch.fx.symbolic_trace(network)
    with torch.no_grad():
        for one, other in zip(traced(x), network(x), strict=True):
            assert torch.equal(one, other)


def test_fx_says_what_it_cannot_follow() -> None:
    network = dt.build("yolov3-tiny", width=64, height=64)  # its pooling asks for sizes
    with pytest.raises(UsageError, match=r"symbolic_trace cannot follow .* torch\.export"):
        torch.fx.symbolic_trace(network)


def test_jit_traces_are_checked() -> None:
    """The second trace, without gradients, is the same."""
    network, x = small(), image().contiguous(memory_format=torch.channels_last)
    traced = torch.jit.trace(network, x)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for one, other in zip(traced(x), network(x), strict=True):
            assert torch.equal(one, other)
    recurrent = dt.build("[net]\ninputs=4\n[gru]\noutput=5\n")
    with pytest.raises(UsageError, match="a trace would freeze the state"):
        torch.jit.trace(recurrent, torch.rand(1, 4))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("name", [name for name in keys.mini_names() if "/" not in name][::3])
def test_constants_are_buffers(name: str, tmp_path: Path) -> None:
    """Else they would not move to a card, or would be copied there at each pass."""
    key = keys.mini(name)
    key.write_weights(tmp_path / "w")
    network = key.load(tmp_path / "w")
    shape = network.plan.input
    x = torch.rand(2, shape.c) if shape.is_vector else torch.rand(2, *shape)
    assert not strange_constants(network, network, x)


def test_tables_of_word_trees_are_buffers(tmp_path: Path) -> None:
    (tmp_path / "t.tree").write_text("a -1\nb -1\nc 0\nd 0\n")
    (tmp_path / "t.cfg").write_text("[net]\ninputs=4\n[softmax]\ntree=t.tree\n")
    network, x = dt.build(tmp_path / "t.cfg"), torch.rand(2, 4)
    assert not strange_constants(network, network, x)
    tree = network.plan[0].layer.word_tree
    assert tree is not None
    with torch.no_grad():
        assert torch.equal(network(x), tree.softmax(x))
    assert strange_constants(network, tree.softmax, x)  # which takes its own table


NAMES = ["yolov2-tiny", "yolov3-tiny", "yolov4-tiny"]


@pytest.mark.filterwarnings("ignore::darknet_torch.errors.DarknetWarning")
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_compile(name: str) -> None:
    torch._dynamo.reset()
    network = dt.build(name, width=64, height=64)
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    for size in ((64, 64), (96, 32)):
        planar = torch.rand(2, 3, *size)
        x = planar.contiguous(memory_format=torch.channels_last)
        for one, other in zip(compiled(x), network(x), strict=True):
            assert torch.equal(one, other)
        for one, other in zip(compiled(planar), network(planar), strict=True):
            close(one, other)


@pytest.mark.filterwarnings("ignore::darknet_torch.errors.DarknetWarning")
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_export(name: str) -> None:
    network = dt.build(name, width=128, height=96)
    stride_y, stride_x = network.plan.stride
    assert (stride_y, stride_x) == (32, 32)
    rows, columns = (
        torch.export.Dim("rows", min=2, max=20),
        torch.export.Dim("columns", min=2, max=20),
    )
    dynamic = (
        {0: torch.export.Dim("batch", min=1, max=64), 2: stride_y * rows, 3: stride_x * columns},
    )
    program = torch.export.export(network, (torch.rand(2, 3, 96, 128),), dynamic_shapes=dynamic)
    module = program.module()
    for shape in ((1, 3, 64, 160), (3, 3, 224, 96)):
        x = torch.rand(shape).contiguous(memory_format=torch.channels_last)
        for one, other in zip(module(x), network(x), strict=True):
            close(one, other)


def test_no_error_of_this_package_is_a_warning() -> None:
    assert not issubclass(DarknetWarning, DarknetError)


def test_stride_of_maps_that_only_grow() -> None:
    """A pixel of the input is the smallest step that there is."""
    head = "[net]\nwidth=6\nheight=4\nchannels=3\n"
    assert dt.plan(f"{head}[upsample]\n").stride == (1, 1)
    assert dt.plan(f"{head}[upsample]\n[maxpool]\nstride=4\n[upsample]\n").stride == (2, 2)


def test_unroll_is_step_after_step() -> None:
    network = dt.build("[net]\ninputs=5\n[rnn]\noutput=3\n[connected]\noutput=2\n")
    x = torch.rand(4, 2, 5)
    with torch.no_grad():
        results, state = network.unroll(x)
        one_by_one = [network(each) for each in x]
    for got, want in zip(results, one_by_one, strict=True):
        torch.testing.assert_close(got, want)
    again, _ = network.unroll(x[:1], state)
    torch.testing.assert_close(again[0], network(x[0]))
    assert not torch.allclose(again[0], results[0])


@torch.no_grad()
def test_outputs_have_the_layout_of_the_input() -> None:
    """On the CPU a network computes channels last, but returns maps of which `view` works."""
    network, x, last = small(), image(), torch.channels_last
    seen: list[torch.Tensor] = []
    network.layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert all(each.is_contiguous() for each in network(x))
    assert all(each.is_contiguous() for each in network.activations(x))
    turned = network(x.contiguous(memory_format=last))
    assert all(each.is_contiguous(memory_format=last) for each in turned)
    network.train()(x)
    assert [each.is_contiguous(memory_format=last) for each in seen] == [True, True, True, False]


@torch.no_grad()
def test_few_values_for_many_weights_stay_as_they_are() -> None:
    """A single image of a network of large layers, a batch of it not."""
    network = dt.build("[net]\nwidth=8\nheight=8\nchannels=64\n[convolutional]\nfilters=64\n")
    turned: list[bool] = []
    network.layers[0].register_forward_pre_hook(
        lambda _, inputs: turned.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
    )
    for count in (1, 2, 3, 8):
        network(torch.rand(count, 64, 8, 8))
    assert turned == [False, False, True, True]


@pytest.mark.parametrize("side", [2, 5])
@torch.no_grad()
def test_maxpool_keeps_the_layout(side: int) -> None:
    """A map of one cell has the strides of either layout; convolutions behind it go by them."""
    net = f"[net]\nwidth={side}\nheight={side}\nchannels=4\n"
    pool = dt.build(f"{net}[maxpool]\nsize=2\nstride=2").layers[0]
    x = torch.rand(2, 4, side, side)
    for each in (x, x.contiguous(memory_format=torch.channels_last)):
        want = F.max_pool2d(each, 2, 2, ceil_mode=True)
        got = pool(each)
        assert torch.equal(got, want)
        assert got.stride() == want.stride()


def test_a_network_prints_as_its_table(small_network) -> None:
    line = "Network(net.cfg: 3 layers, 1,822 parameters, input 64 x 64 x 3, 2 classes)"
    assert repr(small_network) == line.replace("1,822", f"{small_network.plan.floats:,}")
    table = str(small_network).splitlines()
    assert table[0] == repr(small_network)
    assert [row.split()[1] for row in table[2:-1]] == ["convolutional", "convolutional", "yolo"]
    optimized = dt.optimize(small_network, compile=False)
    assert repr(optimized).startswith("Optimized(net.cfg: 3 layers, ")
    with pytest.raises(UsageError, match=r"the one that optimize was given.*Optimized"):
        dt.save(optimized, "x.weights")


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        ({"width": 400}, "width=400 must be a multiple of 32, the network's stride"),
        ({"height": 330}, "height=330 must be a multiple of 32, the network's stride"),
        ({"width": 8, "height": 8}, "width=8 must be a multiple of 32 and height=8 must be a mul"),
    ],
)
def test_a_size_off_the_stride(sides: dict[str, int], message: str) -> None:
    with pytest.raises(ShapeError, match=r"yolov4-tiny\.cfg:\d+: \[net\]: ") as caught:
        dt.plan("yolov4-tiny", **sides)
    assert message in str(caught.value)
    assert len(dt.plan("yolov4-tiny", width=416, height=32)) == 38


def test_another_error_of_shapes_does_not_speak_of_the_stride() -> None:
    cfg = "[net]\nwidth=100\nheight=100\nchannels=3\n[avgpool]\n[convolutional]\nsize=3\n"
    with pytest.raises(ShapeError) as caught:
        dt.plan(cfg)
    assert "stride" not in str(caught.value)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (
            torch.zeros(1, 3, 32, 32, dtype=torch.uint8),
            r"input of torch.uint8: .* x.float\(\) / 255$",
        ),
        (torch.zeros(1, 3, 32, 32).numpy(), "input of ndarray: must be a tensor$"),
    ],
)
def test_an_input_of_another_type(x: object, message: str) -> None:
    network = dt.build("[net]\nwidth=32\nheight=32\nchannels=3\n[maxpool]")
    with pytest.raises(UsageError, match=message):
        network(x)
