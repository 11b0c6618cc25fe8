"""Files of torch.save that ask for more than they have are refused before memory is taken."""

import io
import pickle
import resource
import struct
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from small_network import CFG
from torch import nn

import darknet_torch as dt
from darknet_torch.errors import WeightsError
from darknet_torch.network import Network, checkpoint_file

HUGE = 2_000_000_000


def archive(path: Path, content: bytes, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", content)
        for name, member in {"version": b"3\n", "byteorder": b"little", **members}.items():
            file.writestr(f"a/{name}", member)
    return path


def call(function: str, arguments: bytes) -> bytes:
    """A dict of what a function returns, as a pickle; the arguments are opcodes."""
    module, _, name = function.rpartition(".")
    return b"\x80\x02}X\x01\0\0\0wc%s\n%s\n(%stRs." % (module.encode(), name.encode(), arguments)


def number(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


ASKS = {
    "bytearray": (call("builtins.bytearray", number(HUGE)), "asks for an array"),
    "old name": (call("__builtin__.bytearray", number(HUGE)), "asks for an array"),
    "tensor": (call("torch.Tensor", number(HUGE)), "not callable"),
    "storage": (call("torch.FloatStorage", number(HUGE)), "not callable"),
    "quantized": (call("torch._utils._rebuild_qtensor", b""), "holds more than tensors"),
    "subclass": (
        call("torch._tensor._rebuild_from_type_v2", b"ctorch\nTensor\nN(%stN" % number(HUGE)),
        "in a way that torch.save does not use",
    ),
    "memory": (b"\x80\x02Nr\xff\xff\xff\x7f.", "under the number 2147483647"),
    "bytes": (b"\x80\x04\x8e" + struct.pack("<Q", HUGE) + b".", "expected 2000000000 bytes"),
    "text": (b"\x80\x04\x8d" + struct.pack("<Q", HUGE) + b".", "expected 2000000000 bytes"),
}


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("name", ASKS)
def test_pickles_that_ask_for_memory(name: str, old: bool, tmp_path: Path) -> None:
    content, message = ASKS[name]
    path = tmp_path / "x.pt"
    if old:
        path.write_bytes(content)
    else:
        archive(path, content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WeightsError, match=message) as error:
        checkpoint_file.open_file(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def saved(content: object, *, old: bool = False) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=not old)
    return stream.getvalue()


def test_storages_that_an_old_file_does_not_have(tmp_path: Path) -> None:
    whole = saved({"w": torch.zeros(77)}, old=True)
    storage = whole.index(b"cpuq") + len(b"cpuq") + 1  # the number of values follows
    assert whole[storage : storage + 2] == b"K\x4d"
    path = tmp_path / "x.pt"
    path.write_bytes(whole[:storage] + b"J" + struct.pack("<i", HUGE) + whole[storage + 2 :])
    with pytest.raises(WeightsError, match="asks for values of more than its"):
        checkpoint_file.open_file(path)


def test_an_archive_of_two_pickles(tmp_path: Path) -> None:
    """One would be checked, and the other loaded."""
    path = archive(tmp_path / "x.pt", saved({}), **{"b/data.pkl": saved({})})
    with pytest.raises(WeightsError, match=r"2 members data\.pkl"):
        checkpoint_file.open_file(path)


def test_a_tensor_of_one_stored_value(tmp_path: Path) -> None:
    """The cfg inside says that it fits; filling the network would take what it promises."""
    cfg = "[net]\nwidth=1\nheight=1\nchannels=1\n[convolutional]\nfilters=2000000\nsize=20\npad=1\n"
    tensors = {
        "layers.0.conv.weight": torch.zeros(1).expand(2000000, 1, 20, 20),
        "layers.0.conv.bias": torch.zeros(2000000),
    }
    torch.save({"state_dict": tensors, "cfg": cfg, "dialect": "alexeyab"}, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match=r"its tensors have 32\d+ bytes, and the file 8\d+$"):
        dt.load(tmp_path / "x.pt")


def test_a_small_tensor_of_one_stored_value(small_network: Network, tmp_path: Path) -> None:
    tensors = dict(small_network.state_dict())
    name = next(name for name in tensors if name.endswith("1.conv.bias"))
    tensors[name] = torch.zeros(1).expand(14)
    torch.save(tensors, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="14 values expected, fewer are stored"):
        checkpoint_file.read(small_network, tmp_path / "x.pt")


@pytest.mark.parametrize("old", [False, True])
def test_what_checkpoints_have_is_read(old: bool, tmp_path: Path) -> None:
    network = dt.build(CFG)
    state = network.state_dict()
    shared = torch.zeros(1000)
    others: dict[str, Any] = {
        "counter": Counter({3: 1}),
        "set": {1, 2},
        "complex": 1j,
        "bytes": b"\xff" * 9,
        "array": bytearray(b"\0\xff"),
        "sizes": torch.Size([1, 2]),
        "type": torch.float16,
        "device": torch.device("cpu"),
        "parameter": nn.Parameter(torch.rand(3)),
        "views": [shared[n:] for n in range(20)],
        "half": torch.rand(3).half(),
        "optimizer": torch.optim.SGD(network.parameters(), lr=0.1).state_dict(),
    }
    path = tmp_path / "x.pt"
    path.write_bytes(saved({"model": state, "others": others}, old=old))
    checkpoint_file.read(dt.build(CFG), path)


def test_the_check_is_no_reader_of_its_own(tmp_path: Path) -> None:
    """What it lets pass, torch may still refuse."""
    path = archive(tmp_path / "x.pt", pickle.dumps({"model": {"a": 1}}, 2))
    with pytest.raises(WeightsError, match="no dict of tensors in it"):
        checkpoint_file.open_file(path)
