"""The weights file: there and back, and every way in which it can be wrong."""

import os
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import darknet_torch as dt
from darknet_torch.errors import CfgError, DarknetError, WeightsError
from darknet_torch.network import Header, Network
from darknet_torch.network import weights_file as module

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
[connected]
output=3
activation=linear
"""
# layer 0: biases, scales, means, variances 4 each, weights 4*3*9; layer 2: 5 + 20; layer 3: 3 + 240
LAYERS = (16 + 108, 0, 25, 243)
FLOATS = sum(LAYERS)
HEAD = struct.pack("<iiiQ", 0, 2, 5, 64)


def numbers(count: int, seed: int = 0) -> np.ndarray:
    """Positive values, so that none is a wrong variance."""
    return np.random.default_rng(seed).uniform(0.1, 1, count).astype("<f4")


def write(path: Path, *parts: bytes | np.ndarray) -> Path:
    path.write_bytes(
        b"".join(p if isinstance(p, bytes) else p.astype("<f4").tobytes() for p in parts)
    )
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "my.weights"


def state(network: Network) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def refused(path: Path, *expected: str, cfg: str = CFG, **options: Any) -> None:
    """Reading fails with one line that has all that is expected, and changes nothing."""
    with pytest.raises(WeightsError) as caught:
        dt.load(cfg, path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for part in expected:
        assert part in message, message
    network = dt.build(cfg)
    before, header = state(network), network.header
    with pytest.raises(WeightsError):
        module.read(network, path, **options)
    assert (network.header, network.loaded) == (header, 0)
    after = state(network)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_every_float_is_in_its_tensor(file: Path) -> None:
    values = numbers(FLOATS)
    network = dt.load(CFG, write(file, HEAD, values))
    assert network.plan.floats == FLOATS
    assert [node.floats for node in network.plan] == list(LAYERS)
    loaded = network.state_dict()
    position = 0
    for name, shape in (
        ("layers.0.bn.bias", (4,)),
        ("layers.0.bn.weight", (4,)),
        ("layers.0.bn.running_mean", (4,)),
        ("layers.0.bn.running_var", (4,)),
        ("layers.0.conv.weight", (4, 3, 3, 3)),
        ("layers.2.conv.bias", (5,)),
        ("layers.2.conv.weight", (5, 4, 1, 1)),
        ("layers.3.fc.bias", (3,)),
        ("layers.3.fc.weight", (3, 80)),
    ):
        count = int(np.prod(shape))
        assert np.array_equal(
            loaded[name].numpy(), values[position : position + count].reshape(shape)
        ), name
        position += count
    assert position == FLOATS
    assert (network.header, network.loaded) == (Header(0, 2, 5, 64), 4)


@pytest.mark.parametrize(
    ("count", "layer", "expected", "left"),
    [
        (0, "layer 0 [convolutional] biases", 4, 0),
        (3, "layer 0 [convolutional] biases", 4, 3),
        (16, "layer 0 [convolutional] weights", 108, 0),
        (17, "layer 0 [convolutional] weights", 108, 1),
        (124, "layer 2 [convolutional] biases", 5, 0),
        (FLOATS - 240, "layer 3 [connected] weights", 240, 0),
        (FLOATS - 1, "layer 3 [connected] weights", 240, 239),
    ],
)
def test_too_short(count: int, layer: str, expected: int, left: int, file: Path) -> None:
    write(file, HEAD, numbers(count))
    refused(file, f"{layer}: {expected} floats expected, {left} left in the file")
    refused(file, f"has {FLOATS} floats in all, the file {count}")


@pytest.mark.parametrize("extra", [1, 3, 4, 400])
def test_too_long(extra: int, file: Path) -> None:
    write(file, HEAD, numbers(FLOATS), b"\1" * extra)
    refused(file, "too long", f"has {FLOATS} floats, the file {FLOATS + extra // 4}")


@pytest.mark.parametrize("length", [1, 4, 12, 15, 16, 19])
def test_ends_inside_its_header(length: int, file: Path) -> None:
    expected = 20 if length >= 16 else 16
    refused(
        write(file, HEAD[:length]), f"ends inside its header: {expected} bytes expected, {length}"
    )


def test_empty(file: Path) -> None:
    refused(write(file), "is empty")


def test_folder(tmp_path: Path) -> None:
    refused(tmp_path, "is a folder")


def test_missing(file: Path) -> None:
    refused(file, "cannot be read: No such file")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<!DOCTYPE html>\n<html><body>Not found</body></html>", "but a web page"),
        (b"\r\n<html><head><title>Sign in</title></head></html>", "but a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "but a pointer of Git LFS"),
        (b"[net]\nwidth=416\nheight=416\n", "is a text"),
        (b"PK\x03\x04" + bytes(range(100, 120)) * 9, "is no weights file, but a zip archive"),
        (b"\x80\x02}q" + bytes(range(100, 120)) * 9, "is no weights file: its version would be"),
        (struct.pack("<iiiQ", -1, 0, 0, 0), "version would be -1.0.0"),
        (struct.pack("<iiiQ", 0, 0, 1 << 20, 0), "version would be 0.0.1048576"),
    ],
)
def test_no_weights_file(content: bytes, what: str, file: Path) -> None:
    refused(write(file, content), what)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("position", "where"),
    [
        (0, "layer 0 [convolutional] biases"),
        (13, "layer 0 [convolutional] rolling_variance"),
        (20, "layer 0 [convolutional] weights"),
        (FLOATS - 1, "layer 3 [connected] weights"),
    ],
)
def test_values_that_are_not_finite(value: float, position: int, where: str, file: Path) -> None:
    values = numbers(FLOATS)
    values[position] = value
    refused(write(file, HEAD, values), f"{where}: 1 values are not finite")


def test_large_values_are_values(file: Path) -> None:
    values = numbers(FLOATS)
    values[16:124] = 3e38  # their sum is infinite
    assert dt.load(CFG, write(file, HEAD, values)).loaded == 4


@pytest.mark.parametrize("value", [-1.0, -1e-30])
def test_negative_variance(value: float, file: Path) -> None:
    values = numbers(FLOATS)
    values[14] = value
    refused(
        write(file, HEAD, values),
        "layer 0 [convolutional] rolling_variance: a variance cannot be -1",
    )


@pytest.mark.parametrize("dialect", ["pjreddie", "alexeyab"])
@pytest.mark.parametrize("value", [-0.0, -1e-40, 0.0])
def test_a_variance_that_is_a_denormal_zero(value: float, dialect: str, file: Path) -> None:
    """Published files have them."""
    values = numbers(FLOATS)
    values[14] = value
    network = dt.load(CFG, write(file, HEAD, values), dialect=dialect)
    assert torch.isfinite(network(torch.rand(1, 3, 8, 8))).all()  # type: ignore[arg-type]


def test_the_wrong_network(file: Path) -> None:
    other = CFG.replace("filters=4", "filters=6")
    write(file, HEAD, numbers(FLOATS))
    refused(file, "layer 3 [connected] weights: 240 floats expected", "another cfg", cfg=other)
    fewer = CFG.replace("filters=4", "filters=2")
    refused(file, "too long", "belongs to another cfg", cfg=fewer)


DETECTOR = """[net]
width=64
height=64
channels=3
[convolutional]
filters=4
batch_normalize=1
activation=leaky
[convolutional]
filters={filters}
activation=linear
[{head}]
num=2
anchors=1,2,3,4
classes={classes}
[route]
layers=0
[convolutional]
filters={filters}
activation=linear
[{head}]
num=2
anchors=1,2,3,4
classes={classes}
"""


@pytest.mark.parametrize("head", ["yolo", "region"])
@pytest.mark.parametrize("other", [1, 2, 20, 80])
def test_another_number_of_classes(head: str, other: int, file: Path) -> None:
    theirs = DETECTOR.format(head=head, classes=other, filters=2 * (5 + other))
    dt.save(dt.build(theirs), file)
    mine = DETECTOR.format(head=head, classes=7, filters=24)
    what = f"classes={other} in each head, filters={2 * (5 + other)} before it"
    refused(file, f"belongs to the same cfg with {other} classes: {what}", cfg=mine)


def test_a_classifier_of_other_classes(file: Path) -> None:
    text = "[net]\nwidth=8\nheight=8\nchannels=3\n[connected]\noutput={}\n[softmax]\n"
    dt.save(dt.build(text.format(10)), file)
    refused(file, "belongs to the same cfg with 10 classes", cfg=text.format(3))
    refused(file, "belongs to the same cfg with 10 classes", cfg=text.format(30))


# ---- headers


HEADERS = [
    # version, dialect, bytes of `seen`
    ((0, 1, 0), "pjreddie", 4),
    ((0, 1, 0), "alexeyab", 4),
    ((0, 2, 0), "pjreddie", 8),
    ((0, 2, 0), "alexeyab", 8),
    ((0, 2, 5), "pjreddie", 8),
    ((0, 2, 5), "alexeyab", 8),
    ((1, 0, 0), "hank-ai", 8),
    ((1001, 0, 0), "pjreddie", 4),
    ((1001, 0, 0), "alexeyab", 8),
    ((0, 1001, 0), "pjreddie", 4),
    ((0, 1001, 0), "alexeyab", 8),
    ((1000, 0, 0), "pjreddie", 4),
    ((1000, 0, 0), "alexeyab", 8),
]


@pytest.mark.parametrize(("version", "dialect", "width"), HEADERS)
def test_headers(version: tuple[int, int, int], dialect: str, width: int, file: Path) -> None:
    seen = 32013312 if width == 4 else 2**40 + 7
    content = struct.pack("<iii" + {4: "I", 8: "Q"}[width], *version, seen)
    values = numbers(FLOATS)
    network = dt.load(CFG, write(file, content, values), dialect=dialect)
    assert network.header == (*version, seen)
    matrix = values[-240:]
    transposed = max(version[:2]) > 1000
    expected = matrix.reshape(80, 3).T if transposed else matrix.reshape(3, 80)
    assert np.array_equal(network.state_dict()["layers.3.fc.weight"].numpy(), expected)
    # only connected matrices are turned round
    assert np.array_equal(
        network.state_dict()["layers.0.conv.weight"].numpy().ravel(), values[16:124]
    )
    dt.save(network, file.with_suffix(".again"))
    assert file.with_suffix(".again").read_bytes() == file.read_bytes()


def test_a_new_file_has_a_header_of_todays_darknet(file: Path) -> None:
    dt.save(dt.build(CFG), file)
    assert file.read_bytes()[:20] == struct.pack("<iiiQ", 0, 2, 5, 0)
    assert file.stat().st_size == 20 + 4 * FLOATS


# ---- parts of a network


@pytest.mark.parametrize(("cutoff", "floats"), [(1, 124), (2, 124), (3, 149), (4, FLOATS)])
def test_cutoff(cutoff: int, floats: int, file: Path) -> None:
    values = numbers(FLOATS)
    whole = dt.load(CFG, write(file, HEAD, values, b"junk!"), cutoff=cutoff)
    assert whole.loaded == cutoff
    short = write(file.with_name("short"), HEAD, values[:floats])
    network = dt.load(CFG, short, cutoff=cutoff)
    assert np.array_equal(
        network.state_dict()["layers.0.conv.weight"].numpy().ravel(), values[16:124]
    )
    dt.save(network, file, cutoff=cutoff)
    assert file.read_bytes() == short.read_bytes()


@pytest.mark.parametrize("cutoff", [0, -1, 5])
def test_cutoff_that_cannot_be(cutoff: int, file: Path) -> None:
    write(file, HEAD, numbers(FLOATS))
    for use in (
        lambda: dt.load(CFG, file, cutoff=cutoff),
        lambda: dt.save(dt.build(CFG), file, cutoff=cutoff),
    ):
        with pytest.raises(DarknetError, match=f"cutoff={cutoff}.*1 to 4"):
            use()


def test_cutoff_of_a_short_file(file: Path) -> None:
    write(file, HEAD, numbers(130))
    refused(file, "layer 2 [convolutional] weights", cutoff=3)


@pytest.mark.parametrize(("count", "layers"), [(124, 2), (149, 3), (FLOATS, 4), (0, 0)])
def test_partial_at_a_boundary(count: int, layers: int, file: Path) -> None:
    values = numbers(FLOATS)
    network = dt.load(CFG, write(file, HEAD, values[:count]), partial=True)
    assert network.loaded == layers
    loaded = state(network)
    assert all(not value.is_meta for value in loaded.values())
    if count:
        assert np.array_equal(loaded["layers.0.conv.weight"].numpy().ravel(), values[16:124])
    if count < FLOATS:  # started at random, as Darknet does
        assert 0 < loaded["layers.3.fc.weight"].std() < 1
        assert loaded["layers.3.fc.bias"].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("count", "where"),
    [
        (3, "layer 0 [convolutional] biases: 4 floats expected, 3 left"),
        (16, "layer 0 [convolutional] weights: 108 floats expected, 0 left"),
        (130, "layer 2 [convolutional] weights: 20 floats expected, 1 left"),
    ],
)
def test_partial_in_the_middle_of_a_layer(count: int, where: str, file: Path) -> None:
    refused(write(file, HEAD, numbers(count)), where, "after a layer", partial=True)


def test_partial_is_no_excuse_for_a_longer_file(file: Path) -> None:
    refused(write(file, HEAD, numbers(FLOATS + 1)), "too long", partial=True)


@pytest.mark.parametrize("partial", [False, True])
def test_a_network_without_weights(partial: bool, file: Path) -> None:
    cfg = "[net]\nwidth=8\nheight=8\nchannels=3\n[maxpool]\nsize=2\nstride=2\n"
    network = dt.load(cfg, write(file, HEAD), partial=partial)
    assert network.loaded == 1
    dt.save(network, file.with_suffix(".again"))
    assert file.with_suffix(".again").read_bytes() == HEAD


# ---- options that move floats


def conv(*lines: str, filters: int = 4) -> str:
    text = "\n".join(lines)
    return f"[net]\nwidth=4\nheight=4\nchannels=2\n[convolutional]\nfilters={filters}\n{text}\n"


def test_dontload(file: Path) -> None:
    second = "[convolutional]\nfilters=2\n"
    values = numbers(2 + 8)
    network = dt.load(conv("dontload=1") + second, write(file, HEAD, values))
    loaded = network.state_dict()
    assert np.array_equal(loaded["layers.1.conv.weight"].numpy().ravel(), values[2:])
    assert loaded["layers.0.conv.weight"].std() > 0
    assert loaded["layers.0.conv.bias"].tolist() == [0, 0, 0, 0]
    dt.save(network, file.with_suffix(".again"))
    assert file.with_suffix(".again").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("dialect", ["pjreddie", "alexeyab"])
def test_dontloadscales(dialect: str, file: Path) -> None:
    """They keep scale 1, mean 0 and variance 0."""
    values = numbers(4 + 8)
    cfg = conv("batch_normalize=1", "dontloadscales=1")
    loaded = dt.load(cfg, write(file, HEAD, values), dialect=dialect).state_dict()
    assert np.array_equal(loaded["layers.0.bn.bias"].numpy(), values[:4])
    assert np.array_equal(loaded["layers.0.conv.weight"].numpy().ravel(), values[4:])
    for name, value in (("weight", 1.0), ("running_mean", 0.0), ("running_var", 0.0)):
        assert loaded[f"layers.0.bn.{name}"].tolist() == [value] * 4


@pytest.mark.parametrize("flipped", [0, 1])
def test_numload(flipped: int, file: Path) -> None:
    values = numbers(3 * 4 + 3 * 2)
    cfg = conv("numload=3", "batch_normalize=1", f"flipped={flipped}")
    network = dt.load(cfg, write(file, HEAD, values), dialect="pjreddie")
    loaded = network.state_dict()
    for name, start in (("bias", 0), ("weight", 3), ("running_mean", 6), ("running_var", 9)):
        assert np.array_equal(loaded[f"layers.0.bn.{name}"][:3].numpy(), values[start : start + 3])
        assert len(loaded[f"layers.0.bn.{name}"]) == 4
    stored = values[12:].reshape(2, 3).T if flipped else values[12:].reshape(3, 2)
    assert np.array_equal(loaded["layers.0.conv.weight"][:3, :, 0, 0].numpy(), stored)
    dt.save(network, file.with_suffix(".again"))
    assert file.with_suffix(".again").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("count", [0, 4, 9])
def test_numload_of_all(count: int) -> None:
    assert dt.plan(conv(f"numload={count}"), dialect="pjreddie").floats == 4 + 8


def test_numload_below_zero() -> None:
    with pytest.raises(CfgError, match=r"<cfg>:7: .*numload=-1: must be"):
        dt.plan(conv("numload=-1"), dialect="pjreddie")


def test_flipped(file: Path) -> None:
    values = numbers(4 + 4 * 2 * 9)
    network = dt.load(conv("flipped=1", "size=3", "pad=1"), write(file, HEAD, values))
    expected = values[4:].reshape(18, 4).T.reshape(4, 2, 3, 3)
    assert np.array_equal(network.state_dict()["layers.0.conv.weight"].numpy(), expected)


def test_share_index(file: Path) -> None:
    cfg = conv("batch_normalize=1", "[convolutional]\nfilters=4\nsize=1", filters=2)
    cfg += "[convolutional]\nshare_index=0\nfilters=2\nbatch_normalize=1\n"
    with pytest.raises(CfgError, match=r"\]: layer 0 \[convolutional\] has no weights"):
        dt.plan(cfg)
    cfg = conv("batch_normalize=1", filters=2)
    cfg += "[convolutional]\nshare_index=-1\nfilters=2\nbatch_normalize=1\n"
    network = dt.load(cfg, write(file, HEAD, numbers(2 * 4 + 4)))
    first, second = network.layers[0], network.layers[1]
    assert first.conv.weight is second.conv.weight
    assert first.bn is second.bn
    assert network.plan.floats == 12


def test_share_index_of_another_kind_of_layer() -> None:
    cfg = conv() + "[maxpool]\n[convolutional]\nshare_index=1\nfilters=4\n"
    with pytest.raises(CfgError, match=r"layer 1 \[maxpool\] has no weights of the shapes"):
        dt.plan(cfg)


# ---- memory, and the disk


def test_parameters_are_views_of_one_buffer(file: Path) -> None:
    network = dt.load(CFG, write(file, HEAD, numbers(FLOATS)))
    tensors = [v for k, v in network.state_dict().items() if "num_batches" not in k]
    assert {tensor.untyped_storage().data_ptr() for tensor in tensors} == {
        tensors[0].untyped_storage().data_ptr()
    }
    assert tensors[0].untyped_storage().nbytes() == 4 * FLOATS
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_an_interrupted_save_leaves_the_old_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = dt.load(CFG, write(file, HEAD, numbers(FLOATS)))
    old = file.read_bytes()
    plain, calls = module._file_bytes, []

    def fails(*args: Any) -> memoryview:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return plain(*args)

    monkeypatch.setattr(module, "_file_bytes", fails)
    with pytest.raises(KeyboardInterrupt):
        dt.save(network, file)
    assert len(calls) == 3
    assert file.read_bytes() == old
    assert list(file.parent.iterdir()) == [file]


def test_a_full_disk(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> memoryview:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_file_bytes", full)
    with pytest.raises(WeightsError, match=r"my.weights: cannot be written: No space left"):
        dt.save(dt.build(CFG), file)
    assert list(file.parent.iterdir()) == []


def test_save_where_nothing_can_be_written(tmp_path: Path) -> None:
    for path in (tmp_path / "no" / "my.weights", tmp_path):
        with pytest.raises(WeightsError, match="cannot be written"):
            dt.save(dt.build(CFG), path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="the system has no such rights")
def test_a_new_file_has_the_rights_of_a_new_file(file: Path) -> None:
    mask = os.umask(0o027)
    try:
        dt.save(dt.build(CFG), file)
    finally:
        os.umask(mask)
    assert file.stat().st_mode & 0o777 == 0o640


def test_what_was_trained_is_saved(file: Path) -> None:
    network = dt.load(CFG, write(file, HEAD, numbers(FLOATS)))
    with torch.no_grad():
        network.layers[0].conv.weight.mul_(2)
    network.header = network.header._replace(seen=128)
    dt.save(network.double(), file)
    again = dt.load(CFG, file)
    assert again.header == (0, 2, 5, 128)
    assert torch.equal(again.layers[0].conv.weight, network.layers[0].conv.weight.float())


@st.composite
def cfgs(draw: st.DrawFn) -> tuple[str, str]:
    """A dialect, and a legal cfg of convolutions, connected layers and batch norms."""
    dialect = draw(st.sampled_from(["pjreddie", "alexeyab"]))
    channels = draw(st.sampled_from([2, 4]))
    lines = [f"[net]\nwidth=6\nheight=5\nchannels={channels}"]
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["convolutional"] * 3 + ["batchnorm", "connected"]))
        lines.append(f"[{kind}]")
        if kind != "batchnorm":
            lines.append(f"batch_normalize={draw(st.integers(0, 1))}")
            lines.append(f"dontload={draw(st.integers(0, 1))}")
            lines.append(f"dontloadscales={draw(st.integers(0, 1))}")
        if kind == "convolutional":
            lines += [f"filters={draw(st.sampled_from([2, 4, 6]))}", "pad=1"]
            lines += [f"size={draw(st.sampled_from([1, 3]))}", f"groups={draw(st.integers(1, 2))}"]
            lines += [f"flipped={draw(st.integers(0, 1))}"]
            if dialect == "pjreddie":
                lines += [f"numload={draw(st.integers(0, 3))}"]
        if kind == "connected":
            lines.append(f"output={draw(st.sampled_from([2, 4]))}")
    return dialect, "\n".join([*lines, ""])


VERSIONS = st.sampled_from([(0, 1, 0), (0, 2, 0), (0, 2, 5), (1001, 0, 0)])


@settings(max_examples=60)
@given(cfgs(), VERSIONS, st.integers(0, 2**32 - 1))
def test_build_save_load_save(
    tmp_path_factory: pytest.TempPathFactory,
    dialect_and_cfg: tuple[str, str],
    version: tuple[int, int, int],
    seen: int,
) -> None:
    dialect, cfg = dialect_and_cfg
    folder = tmp_path_factory.mktemp("weights")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = dt.build(cfg, dialect=dialect)
    network.header = Header(*version, seen)
    dt.save(network, folder / "a")
    again = dt.load(cfg, folder / "a", dialect=dialect)
    assert again.header == network.header
    dt.save(again, folder / "b")
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()
    wide = version[:2] == (0, 2) or (version[0] == 1001 and dialect == "alexeyab")
    assert (folder / "a").stat().st_size == (20 if wide else 16) + 4 * network.plan.floats
    stored = {(n.index, s.name) for n in network.plan for s in n.tensors if s.stored}
    for index, name in stored:
        key = f"layers.{index}.{name}"
        one, other = network.state_dict()[key], again.state_dict()[key]
        rows = next(s.shape[0] for s in network.plan[index].tensors if s.name == name)
        assert torch.equal(one[:rows], other[:rows]), key
