"""Tensors in PyTorch's files: there and back, files of ports, and every way to be wrong."""

import json
import os
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keys
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import darknet_torch as dt
from darknet_torch.errors import DarknetError, UsageError, WeightsError
from darknet_torch.network import Header, Network, checkpoint_file

CFG = """[net]
width=8
height=8
channels=3
[convolutional]
filters=4
size=3
pad=1
batch_normalize=1
activation=leaky
[maxpool]
size=2
stride=2
[convolutional]
filters=5
size=1
activation=linear
[convolutional]
filters=5
size=1
activation=linear
[connected]
output=3
activation=linear
"""
ENDINGS = [".safetensors", ".pt", ".pth"]
State = dict[str, Tensor]


@pytest.fixture
def network() -> Network:
    """Random values everywhere, batch norm included."""
    network = dt.build(CFG)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape) + 0.1)
    network.header = Header(0, 2, 5, 32013312)
    return network


def same(one: Network, other: Network) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)


# ---- our own files


@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
@pytest.mark.parametrize("name", keys.mini_names())
def test_every_kind_of_layer_comes_back(
    name: str, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """.weights -> file -> .weights gives the same bytes, without another cfg."""
    monkeypatch.setenv("DARKNET_TORCH_CACHE", str(keys.GOLDEN))  # some cfgs name a tree in there
    key, weights = keys.mini(name), tmp_path / "a.weights"
    key.write_weights(weights)
    network = key.load(weights)
    checkpoint_file.write(network, tmp_path / f"a{ending}")
    for again in (dt.load(tmp_path / f"a{ending}"), key.load(tmp_path / f"a{ending}")):
        dt.save(again, tmp_path / "b.weights")
        assert (tmp_path / "b.weights").read_bytes() == weights.read_bytes()
        assert same(again, network)
        assert (again.plan.text, again.header) == (network.plan.text, network.header)
        assert again.plan.context.dialect is network.plan.context.dialect


def test_the_numbers_are_the_same(tmp_path: Path) -> None:
    for name in ("conv_share_index.alexeyab", "crnn_alexey_pass2.alexeyab", "deconv.pjreddie"):
        key = keys.mini(name)
        key.write_weights(tmp_path / "w")
        network = key.load(tmp_path / "w")
        checkpoint_file.write(network, tmp_path / "x.safetensors")
        again = dt.load(tmp_path / "x.safetensors")
        for mine, theirs in zip(key.compute(again), key.compute(network), strict=True):
            assert (mine == theirs).all()


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_a_file_says_of_its_network(ending: str, network: Network, tmp_path: Path) -> None:
    path = tmp_path / f"my{ending}"
    network.names = ("cat", "große Ente", "x=1")
    dt.export(network, path)
    origin = checkpoint_file.read_origin(path)
    assert origin.cfg == network.plan.text
    given = (origin.dialect, origin.names, origin.header, origin.mode)
    assert given == ("alexeyab", network.names, network.header, "normal")
    again = dt.load(path)
    assert (again.names, again.header, again.loaded) == (network.names, network.header, 5)
    other = tmp_path / "other.names"
    other.write_text("a\nb\nc\n")
    assert dt.load(path, names=other).names == ("a", "b", "c")
    assert dt.load(CFG, path).names == network.names
    assert dt.load(path, dialect="pjreddie").plan.context.dialect is dt.PJREDDIE


def test_the_size_of_the_input_is_kept(tmp_path: Path) -> None:
    cfg = CFG.replace("[connected]\noutput=3\nactivation=linear\n", "")
    dt.export(dt.build(cfg, width=16, height=24), tmp_path / "x.pt")
    assert dt.load(tmp_path / "x.pt").input_size == (16, 24)
    assert dt.load(tmp_path / "x.pt", width=32).input_size == (32, 24)


def test_others_can_read_them(network: Network, tmp_path: Path) -> None:
    """Without this package: a flat dict, and metadata that are text."""
    dt.export(network, tmp_path / "x.safetensors")
    dt.export(network, tmp_path / "x.pt")
    flat = safetensors.torch.load_file(tmp_path / "x.safetensors")
    content = torch.load(tmp_path / "x.pt", weights_only=True)
    assert content.keys() >= {"state_dict", "cfg", "dialect", "mode", "names", "header"}
    assert content["header"] == [0, 2, 5, 32013312]
    for state in (flat, content["state_dict"]):
        other = dt.build(CFG)
        other.load_state_dict(state)
        assert same(other, network)
    with safetensors.safe_open(str(tmp_path / "x.safetensors"), "pt") as file:
        about = file.metadata()
    assert about["format"] == "pt"
    assert about["header"] == "0 2 5 32013312"
    assert about["producer"] == f"darknet_torch {dt.__version__}"


def test_fused(network: Network, tmp_path: Path) -> None:
    dt.export(network, tmp_path / "x.safetensors", fuse=True)
    again = dt.load(tmp_path / "x.safetensors")
    assert not [m for m in again.modules() if isinstance(m, nn.BatchNorm2d)]
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(again(x), network(x))


@pytest.mark.parametrize("ending", ENDINGS)
def test_other_precisions_become_float32(ending: str, network: Network, tmp_path: Path) -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        path = tmp_path / f"x{ending}"
        checkpoint_file.write(dt.load(CFG, saved(network, tmp_path)).to(dtype), path)
        again = dt.load(path)
        assert all(p.dtype == torch.float32 for p in again.parameters())
        expected = {k: v.to(dtype).float() for k, v in network.state_dict().items()}
        assert all(torch.equal(v.float(), expected[k]) for k, v in again.state_dict().items())


def saved(network: Network, folder: Path) -> Path:
    dt.save(network, folder / "saved.weights")
    return folder / "saved.weights"


def test_a_part_is_not_written_with_the_whole_buffer(network: Network, tmp_path: Path) -> None:
    """Loaded parameters are views of one buffer, which torch.save would write whole."""
    big = CFG.replace("output=3", "output=30000")
    loaded = dt.load(big, saved(dt.build(big), tmp_path))
    small = Network(dt.plan(CFG))
    small.layers.load_state_dict(
        {k: v[:3] if k[0] == "4" else v for k, v in loaded.layers.state_dict().items()}, assign=True
    )
    checkpoint_file.write(small, tmp_path / "x.pt")
    assert (tmp_path / "x.pt").stat().st_size < 20_000


def test_loading_keeps_nothing_of_the_file(network: Network, tmp_path: Path) -> None:
    for ending in ENDINGS:
        path = tmp_path / f"x{ending}"
        checkpoint_file.write(network, path)
        again = dt.load(path)
        path.write_bytes(b"\xff" * path.stat().st_size)
        assert same(again, network)


def test_parameters_can_be_trained(network: Network, tmp_path: Path) -> None:
    checkpoint_file.write(network, tmp_path / "x.pt")
    again = dt.load(tmp_path / "x.pt")
    assert all(parameter.requires_grad for parameter in again.parameters())
    again(torch.rand(1, 3, 8, 8)).sum().backward()
    assert again.get_parameter("layers.0.conv.weight").grad is not None


# ---- files of ports


class Port(nn.Module):
    """What CFG means, written down once more."""

    def forward(self, x: Tensor) -> Tensor:
        conv0, bn, conv2, conv3, fc = (
            m for m in self.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d | nn.Linear)
        )
        x = F.max_pool2d(F.leaky_relu(bn(conv0(x)), 0.1), 2, 2)
        out: Tensor = fc(conv3(conv2(x)).flatten(1))
        return out


def blocks() -> dict[int, list[nn.Module]]:
    return {
        0: [nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)],
        2: [nn.Conv2d(4, 5, 1)],
        3: [nn.Conv2d(5, 5, 1)],
        4: [nn.Linear(5 * 16, 3)],
    }


def numbered(container: str, named: Callable[[int, nn.Module], str]) -> Port:
    """`container.<cfg index>.<named>`, something without parameters at the other numbers."""
    port, layers, modules = Port(), nn.ModuleList(), blocks()
    for index in range(5):
        row = nn.Sequential()
        for module in modules.get(index, [nn.MaxPool2d(2)]):
            row.add_module(named(index, module), module)
        layers.append(row)
    setattr(port, container, layers)
    return port


class Tail(nn.Module):
    """Constants that ports keep beside their parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("anchors", torch.rand(3, 2))
        self.register_buffer("anchor_grid", torch.rand(1, 3, 1, 1, 2))
        self.register_buffer("grid", torch.rand(1, 1))
        self.register_buffer("seen", torch.zeros(1, dtype=torch.int64))


def by_kind(index: int, module: nn.Module) -> str:
    return type(module).__name__


def by_kind_and_number(index: int, module: nn.Module) -> str:
    kinds = {"Conv2d": "conv", "BatchNorm2d": "batch_norm", "Linear": "fc", "MaxPool2d": "pool"}
    return f"{kinds[by_kind(index, module)]}_{index}"


def by_short_kind(index: int, module: nn.Module) -> str:
    return {"Conv2d": "conv1", "BatchNorm2d": "bn1"}.get(by_kind(index, module), "other")


def in_sequence() -> Port:
    """`features.<n>` counts modules, not layers; the classifier has a name of its own."""
    port, modules = Port(), blocks()
    port.features = nn.Sequential(*modules[0], nn.LeakyReLU(0.1), *modules[2], *modules[3])
    port.classifier = modules[4][0]
    return port


def by_words() -> Port:
    port, modules = Port(), blocks()
    words = ["stem", "stem_norm", "neck_a", "neck_b", "head"]
    for word, module in zip(words, [m for row in modules.values() for m in row], strict=True):
        port.add_module(word, module)
    return port


PORTS: dict[str, Callable[[], Port]] = {
    "kinds": lambda: numbered("module_list", by_kind),
    "kinds and numbers": lambda: numbered("module_list", by_kind_and_number),
    "short kinds": lambda: numbered("models", by_short_kind),
    "lists in lists": lambda: numbered("blocks", lambda i, m: str(int("Batch" in by_kind(i, m)))),
    "sequence": in_sequence,
    "words": by_words,
}
NUMBERED = [name for name in PORTS if name not in ("sequence", "words")]


def trained(make: Callable[[], Port]) -> Port:
    port = make().eval()
    with torch.no_grad():
        for tensor in port.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape) * 0.5 + 0.2)
    return port


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("scheme", PORTS)
def test_ports(scheme: str, legacy: bool, tmp_path: Path) -> None:
    port, path = trained(PORTS[scheme]), tmp_path / "port.pth"
    torch.save(port.state_dict(), path, _use_new_zipfile_serialization=not legacy)
    network = dt.load(CFG, path)
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(network(x).flatten(1), port(x))
    dt.save(network, tmp_path / "x.weights")
    assert same(dt.load(CFG, tmp_path / "x.weights"), network)
    assert network.header == Header()


@pytest.mark.parametrize("scheme", PORTS)
def test_ports_in_safetensors(scheme: str, tmp_path: Path) -> None:
    """They are sorted by name there, so that only numbers show where a tensor belongs."""
    port, path = trained(PORTS[scheme]), tmp_path / "port.safetensors"
    safetensors.torch.save_file(port.state_dict(), path)
    if scheme in NUMBERED:
        x = torch.rand(2, 3, 8, 8)
        torch.testing.assert_close(dt.load(CFG, path)(x).flatten(1), port(x))
    else:
        with pytest.raises(WeightsError, match=r"must hold the numbers of the cfg's layers"):
            dt.load(CFG, path)


WRAPPED: list[Callable[[State], object]] = [
    lambda state: {"model": state, "epoch": 3, "optimizer": {"state": {}, "lr": 0.1}},
    lambda state: {"state_dict": state, "best": 0.5, "cfg": "yolo.cfg"},
    lambda state: {"model_state_dict": state},
    lambda state: {"ema": {"module": state, "updates": 7}},
    lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    lambda state: {f"_orig_mod.module.{name}": tensor for name, tensor in state.items()},
    lambda state: {**state, **{f"yolo.{k}": v for k, v in Tail().state_dict().items()}},
    lambda state: {name: tensor.half() for name, tensor in state.items()},
    lambda state: {name: tensor.to(torch.bfloat16) for name, tensor in state.items()},
    lambda state: {name: tensor.double() for name, tensor in state.items()},
]


@pytest.mark.parametrize("wrap", WRAPPED)
@pytest.mark.parametrize("scheme", PORTS)
def test_wrappings(scheme: str, wrap: Callable[[State], object], tmp_path: Path) -> None:
    port, path = trained(PORTS[scheme]), tmp_path / "port.pth"
    torch.save(wrap(port.state_dict()), path)
    x = torch.rand(2, 3, 8, 8)
    got = dt.load(CFG, path)(x).flatten(1)
    torch.testing.assert_close(got, port(x), rtol=0.03, atol=0.03)
    assert not checkpoint_file.read_origin(path).has_cfg
    with pytest.raises(UsageError, match=r"no cfg inside; load\(cfg, 'port.pth'\)"):
        dt.load(path)


def test_our_names_count_whatever_the_order(network: Network, tmp_path: Path) -> None:
    state = network.state_dict()
    torch.save(dict(reversed(state.items())), tmp_path / "x.pt")
    assert same(dt.load(CFG, tmp_path / "x.pt"), network)


def test_numbers_count_more_than_the_order(tmp_path: Path) -> None:
    """Layers 2 and 3 differ in weights alone with 5 channels before them."""
    cfg = CFG.replace("filters=4", "filters=5")
    state = {k: v for k, v in dt.build(cfg).state_dict().items() if v.is_floating_point()}
    renamed = {k.replace("layers.", "m.").replace(".conv.", ".c_."): v for k, v in state.items()}
    backwards = dict(sorted(renamed.items(), reverse=True))
    torch.save(backwards, tmp_path / "x.pt")
    loaded = dt.load(cfg, tmp_path / "x.pt").state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def test_axes_of_length_one(tmp_path: Path) -> None:
    """Ports keep [implicit] as (1, c, 1, 1) and the weights of a shortcut as a vector."""
    cfg = (
        "[net]\nwidth=4\nheight=4\nchannels=2\n[convolutional]\nfilters=2\n[convolutional]\n"
        "filters=2\n[shortcut]\nfrom=-2\nweights_type=per_layer\nweights_normalization=relu\n"
        "[implicit]\nfilters=6\n"
    )
    implicit, weight = torch.rand(1, 6, 1, 1), torch.rand(2)
    state = OrderedDict(dt.build(cfg).state_dict())
    foreign = {f"m.{k.removeprefix('layers.')}": v for k, v in state.items() if k[7] in "01"}
    torch.save(foreign | {"m.2.w": weight, "m.3.implicit": implicit}, tmp_path / "x.pt")
    loaded = dt.load(cfg, tmp_path / "x.pt").state_dict()
    assert torch.equal(loaded["layers.2.weight"], weight[:, None])
    assert torch.equal(loaded["layers.3.weight"], implicit.view(6, 1))


SHARING = """[net]
width=4
height=4
channels=2
[convolutional]
filters=2
batch_normalize=1
[convolutional]
filters=2
batch_normalize=1
share_index=0
"""


def test_layers_that_share(tmp_path: Path) -> None:
    network, path = dt.build(SHARING), tmp_path / "x.pt"
    torch.save(network.state_dict(), path)
    again = dt.load(SHARING, path)
    assert same(again, network)
    assert again.get_parameter("layers.1.conv.weight") is again.get_parameter(
        "layers.0.conv.weight"
    )
    checkpoint_file.read(network, path)  # into one that has values
    assert network.layers[1].bn is network.layers[0].bn
    state = {k: v.clone() for k, v in network.state_dict().items()}
    state["layers.1.bn.bias"] += 1
    torch.save(state, path)
    refused(path, "layer 1 [convolutional] biases: must be those of layer 0", cfg=SHARING)


def test_parts_that_only_names_would_tell(tmp_path: Path) -> None:
    cfg = "[net]\ninputs=3\n[gru]\noutput=3\n[gru]\noutput=3\n"
    state = dt.build(cfg, dialect="pjreddie").state_dict()
    checkpoint_path = tmp_path / "x.safetensors"
    safetensors.torch.save_file(
        {k.replace("uz", "u1"): v for k, v in state.items()}, checkpoint_path
    )
    with pytest.raises(WeightsError, match=r"layer 0 \[gru\]: 6 parts in the file; only the names"):
        dt.load(cfg, checkpoint_path, dialect="pjreddie")


# ---- what is wrong


def refused(
    path: Path, *expected: str, cfg: str = CFG, kind: type[DarknetError] = WeightsError
) -> None:
    """Reading fails with one line that holds all expected parts, and changes nothing."""
    network = dt.build(cfg)
    network.header = Header(0, 2, 5, 9)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(kind) as caught:
        checkpoint_file.read(network, path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for part in expected:
        assert part in message, message
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (network.header, network.loaded) == (Header(0, 2, 5, 9), 0)


def changed(network: Network, **tensors: Tensor | None) -> State:
    """The state dict with some tensors replaced, or left out."""
    state = {k: v for k, v in network.state_dict().items() if v.is_floating_point()}
    for name, tensor in tensors.items():
        key = name.replace("__", ".")
        del state[key]
        if tensor is not None:
            state[key] = tensor
    return state


@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"layers__2__conv__weight": torch.zeros(5, 4, 3, 3)},
            "layer 2 [convolutional] weights: (5, 4, 1, 1) expected,"
            " 'layers.2.conv.weight' is (5, 4, 3, 3)",
        ),
        ({"layers__4__fc__bias": None}, "layer 4 [connected] biases: (3,) expected, nothing left"),
        (
            {"layers__0__bn__running_var": -torch.ones(4)},
            "layer 0 [convolutional] rolling_variance: a variance cannot be -1",
        ),
        (
            {"layers__3__conv__bias": torch.tensor([1, 2, float("nan"), 4, float("inf")])},
            "layer 3 [convolutional] biases: 2 values are not finite",
        ),
        (
            {"layers__3__conv__bias": torch.full((5,), 1e300, dtype=torch.float64)},
            "layer 3 [convolutional] biases: 5 values are not finite",
        ),
        (
            {"layers__3__conv__bias": torch.zeros(5).to(torch.float8_e4m3fn)},
            "16, 32 or 64 bit floats expected, not torch.strided, torch.float8_e4m3fn",
        ),
        (
            {"layers__3__conv__bias": torch.zeros(5, dtype=torch.int64)},
            "layer 3 [convolutional] biases: (5,) expected",
        ),
    ],
)
def test_tensors_that_do_not_fit(
    change: dict[str, Tensor | None], expected: str, ending: str, network: Network, tmp_path: Path
) -> None:
    path, state = tmp_path / f"x{ending}", changed(network, **change)
    if ending == ".pt":
        torch.save(state, path)
    else:
        safetensors.torch.save_file(state, path)
    refused(path, expected)


@pytest.mark.parametrize("more", ["layers.9.conv.weight", "layers.1.conv.weight", "other.weight"])
def test_tensors_that_are_too_many(more: str, network: Network, tmp_path: Path) -> None:
    torch.save(changed(network) | {more: torch.zeros(3)}, tmp_path / "x.pt")
    refused(tmp_path / "x.pt", f"'{more}' is not expected", "belongs to another cfg")


def test_a_sequence_that_does_not_fit(tmp_path: Path) -> None:
    path, state = tmp_path / "x.pth", dict(trained(by_words).state_dict())
    short = dict(list(state.items())[:-1])
    torch.save(short, path)
    refused(path, "layer 4 [connected] biases: (3,) expected, nothing left in the file")
    torch.save(state | {"more": torch.zeros(2)}, path)
    refused(path, "'more' is not expected: 11 tensors expected, 12 in the file")
    state["neck_a.weight"] = torch.zeros(5, 4, 3, 3)
    torch.save(state, path)
    refused(
        path, "layer 2 [convolutional] weights: (5, 4, 1, 1) expected, 'neck_a.weight' is (5, 4, 3"
    )


def test_a_word_in_the_wrong_place(tmp_path: Path) -> None:
    """Scale and bias of batch norm have one shape: the names show that they changed places."""
    state = list(trained(by_words).state_dict().items())
    assert [name for name, _ in state[1:3]] == ["stem_norm.weight", "stem_norm.bias"]
    state[1], state[2] = state[2], state[1]
    torch.save(dict(state), tmp_path / "x.pth")
    refused(
        tmp_path / "x.pth",
        "layer 0 [convolutional] scales: a weight expected, 'stem_norm.bias' is in its place",
    )


def test_a_port_of_another_cfg(tmp_path: Path) -> None:
    torch.save(trained(PORTS["kinds"]).state_dict(), tmp_path / "x.pth")
    refused(
        tmp_path / "x.pth",
        "layer 2 [convolutional] weights: (7, 4, 1, 1) expected, 'module_list.2.Conv2d.weight' is",
        cfg=CFG.replace("filters=5", "filters=7", 1),
    )


class Evil:
    """A pickle that would run something."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("evil",))


def test_nothing_in_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for legacy in (False, True):
        torch.save(
            {"state_dict": {}, "x": Evil()}, "x.pt", _use_new_zipfile_serialization=not legacy
        )
        refused(Path("x.pt"), "holds more than tensors (posix.mkdir)", "model.state_dict()")
    assert not Path("evil").exists()


def test_whole_modules(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save(trained(by_words), path)
    refused(
        path, "test_checkpoint_file.Port", "which is not run", "torch.save(model.state_dict(), ...)"
    )
    torch.save({"model": trained(by_words), "epoch": 1}, path)
    refused(path, "test_checkpoint_file.Port", "torch.save(model.state_dict(), ...)")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript(tmp_path: Path) -> None:
    program = torch.jit.trace(nn.Conv2d(3, 4, 1), torch.rand(1, 3, 4, 4))  # type: ignore[no-untyped-call]
    program.save(str(tmp_path / "x.pt"))
    refused(tmp_path / "x.pt", "is a TorchScript program")


@pytest.mark.parametrize("content", [7, "text", [torch.zeros(2)], {}, {"a": 1}, {"model": [1]}])
def test_no_tensors(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pt")
    refused(tmp_path / "x.pt", "no dict of tensors in it")


def test_a_packed_archive(network: Network, tmp_path: Path) -> None:
    """Torch would take packed bytes for numbers."""
    checkpoint_file.write(network, tmp_path / "x.pt")
    with (
        zipfile.ZipFile(tmp_path / "x.pt") as old,
        zipfile.ZipFile(tmp_path / "y.pt", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    refused(tmp_path / "y.pt", "is a packed archive")


def test_tensors_that_claim_to_be_large(network: Network, tmp_path: Path) -> None:
    huge = torch.zeros(1).expand(1 << 40)
    torch.save(changed(network, layers__3__conv__bias=huge), tmp_path / "x.pt")
    refused(tmp_path / "x.pt", "(5,) expected, 'layers.3.conv.bias' is (1099511627776,)")
    head = {"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}
    text = json.dumps(head).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    refused(tmp_path / "x.safetensors", "is no safetensors file")
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + text)
    refused(tmp_path / "x.safetensors", "is no safetensors file")


def test_tensors_without_values(network: Network, tmp_path: Path) -> None:
    torch.save(
        changed(network, layers__3__conv__bias=torch.empty(5, device="meta")), tmp_path / "x.pt"
    )
    refused(tmp_path / "x.pt", "layer 3 [convolutional] biases", "not without values")
    sparse = torch.zeros(5).to_sparse()
    torch.save(changed(network, layers__3__conv__bias=sparse), tmp_path / "x.pt")
    refused(tmp_path / "x.pt", "layer 3 [convolutional] biases", "not torch.sparse_coo")


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_such_file(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{ending}"
    refused(path, "cannot be read: No such file")
    path.write_bytes(b"")
    refused(path, "is empty")
    path.write_text("<html>Not found</html>")
    refused(path, "is no")
    path.unlink()
    path.mkdir()
    refused(path, "is a folder, not a file")
    path.rmdir()
    os.mkfifo(path)
    refused(path, "is no plain file")


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, of what the bytes then mean
@pytest.mark.parametrize("ending", ENDINGS)
def test_damaged_files(ending: str, network: Network, tmp_path: Path) -> None:
    """Whatever byte is wrong or missing: it is read, or refused in one line."""
    path = tmp_path / f"x{ending}"
    checkpoint_file.write(network, path)
    whole = path.read_bytes()
    generator = torch.Generator().manual_seed(1)
    for number in range(120):
        place, byte = torch.randint(len(whole), (2,), generator=generator).tolist()
        damaged = bytearray(whole)
        if number % 3 == 0:
            del damaged[place:]
        else:
            damaged[place % (len(whole) if number % 3 == 1 else 1200)] = byte % 256
        path.write_bytes(damaged)
        try:
            checkpoint_file.read(dt.build(CFG), path)
        except DarknetError as error:
            assert "\n" not in str(error)


def test_metadata_that_cannot_be(network: Network, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    checkpoint_file.write(network, path)
    content = torch.load(path, weights_only=True)
    for key, value, expected in (
        ("header", [0, 2, 5], "header [0, 2, 5]: must be major, minor, revision and seen"),
        ("header", [0, 2, 5, -1], "must be major, minor"),
        ("header", [0, 2, 5, 2**64], "must be major, minor"),
        ("header", [0, 2, 99999, 0], "must be major, minor"),
        ("header", "0 2 5", "must be major, minor"),
        ("header", 7, "must be major, minor"),
        ("names", 7, "names: must be a list of words"),
        ("names", ["cat", 7], "names: must be a list of words"),
    ):
        torch.save(content | {key: value}, path)
        refused(path, expected)
    torch.save(content | {"dialect": "fortran"}, path)
    with pytest.raises(UsageError, match="fortran"):
        dt.load(path)
    secret = tmp_path / "secret.cfg"
    secret.write_text(CFG)
    torch.save(content | {"cfg": str(secret)}, path)
    with pytest.raises(DarknetError, match=r"x.pt:1: a section such as \[net\] must come"):
        dt.load(path)
    torch.save(content | {"cfg": CFG.replace("filters=4", "filters=4\nfilters")}, path)
    assert dt.load(path).loaded == 5


def test_options_that_are_for_weights_files(network: Network, tmp_path: Path) -> None:
    checkpoint_file.write(network, tmp_path / "x.pt")
    for options in ({"cutoff": 2}, {"partial": True}):
        with pytest.raises(UsageError, match=rf"x.pt: {next(iter(options))} is for .weights"):
            dt.load(tmp_path / "x.pt", **options)
    with pytest.raises(UsageError, match=r"x.pt: engine is for converted"):
        dt.load(tmp_path / "x.pt", engine="torch")


# ---- writing


def test_endings(network: Network, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"must be one of .safetensors, .pt, .pth"):
        checkpoint_file.write(network, tmp_path / "x.bin")
    assert checkpoint_file.has_ending("X.SafeTensors")
    assert not checkpoint_file.has_ending("x.weights")


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_values_yet(ending: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"layer 0 \[convolutional\] weights: has no values yet"):
        checkpoint_file.write(Network(dt.plan(CFG)), tmp_path / f"x{ending}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", ENDINGS)
def test_where_nothing_can_be_written(ending: str, network: Network, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be written: No such file"):
        checkpoint_file.write(network, tmp_path / "no" / f"x{ending}")


def test_safetensors_is_not_installed(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint_file.write(network, tmp_path / "x.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    for use in (
        lambda: dt.load(tmp_path / "x.safetensors"),
        lambda: dt.export(network, tmp_path / "y.safetensors"),
    ):
        with pytest.raises(UsageError, match=r'pip install "safetensors>=0\.6"'):
            use()
    dt.export(network, tmp_path / "y.pt")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    """A cfg may have them; the file gets escapes in their place."""
    cfg = tmp_path / "x.cfg"
    cfg.write_bytes(CFG.encode() + b"[silence]\nnote=caf\xe9\n")
    for ending in ENDINGS:
        dt.export(dt.build(cfg), tmp_path / f"x{ending}")
        assert dt.load(tmp_path / f"x{ending}").plan.text.endswith("note=caf\\xe9\n")
