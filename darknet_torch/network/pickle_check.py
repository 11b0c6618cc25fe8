"""What a file of torch.save asks for, found out before torch loads it and takes memory for it.

torch's `weights_only` runs no code of a file, but a pickle of a few bytes may ask for an array or a
storage of gigabytes. Here the same pickle is read with stand-ins for all that torch would call:
they take no memory, and refuse what no dict of tensors needs.
"""

import io
import pickle
import pickletools
from collections import Counter, OrderedDict
from typing import Any, BinaryIO

__all__ = ["check_pickles"]

MAX_PICKLE = 1 << 24
"""Bytes of all pickles of a file; a tensor needs some hundred, its values are elsewhere."""
ELEMENT_SIZES = {
    **dict.fromkeys(("Float", "Int", "QInt32"), 4),
    **dict.fromkeys(("Double", "Long", "ComplexFloat"), 8),
    **dict.fromkeys(("Half", "BFloat16", "Short"), 2),
    "ComplexDouble": 16,
}
"""Bytes of a value by the storage's name; of all others 1."""


class _Name:
    """Stands for what a pickle imports and must not call, such as a type."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Called(_Name):
    """Stands for what torch calls: harmless, and without memory of its own."""

    def __call__(self, *arguments: object) -> "_Called":
        if self.name == "builtins.bytearray" and any(isinstance(n, int) for n in arguments):
            raise ValueError("asks for an array of a size, which no file of tensors does")
        if self.name.endswith("_rebuild_from_type_v2") and not isinstance(arguments[0], _Called):
            raise ValueError("makes tensors in a way that torch.save does not use")
        return _Called("object")

    def __setstate__(self, state: object) -> None:
        """Take the attributes of a tensor, which are not needed."""


PLAIN: dict[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "collections.Counter": Counter,
    "builtins.set": set,
    "builtins.complex": complex,
}
"""What may have items; none of it is larger than the pickle."""
CALLED = frozenset(
    (
        *("_codecs.encode", "builtins.bytearray", "torch.Size", "torch.device"),
        *("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"),
        "torch._utils._rebuild_tensor_v3",
        *("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"),
        *("torch._utils._rebuild_sparse_tensor", "torch._utils._rebuild_nested_tensor"),
        *("torch._utils._rebuild_meta_tensor_no_storage", "torch._tensor._rebuild_from_type_v2"),
        "torch.serialization._get_layout",
    )
)
"""What makes tensors: they are views of storages."""
TYPES = ("torch.Tensor", "torch.nn.parameter.Parameter")


class _Reader(pickle.Unpickler):
    """Reads a pickle with stand-ins, and adds up the bytes of the storages that it names."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        super().__init__(file, encoding="utf-8", errors="replace")
        self.most, self.sizes = most, dict[object, int]()
        self.total = 0

    def find_class(self, module: str, name: str) -> Any:
        full = f"{'builtins' if module == '__builtin__' else module}.{name}"  # of Python 2
        if full in PLAIN:
            return PLAIN[full]
        if full in CALLED:
            return _Called(full)
        is_storage = module in ("torch", "torch.storage") and name.endswith("Storage")
        is_dtype = module == "torch" and name.isidentifier() and name.islower()
        if full in TYPES or is_storage or is_dtype:
            return _Name(full)
        raise pickle.UnpicklingError(f"GLOBAL {full}")

    def persistent_load(self, pid: Any) -> Any:
        """Count a storage: ("storage", its type, its key, the device, its number of values ...)."""
        word, kind, key, _, count = pid[:5]
        if word not in ("storage", b"storage") or not isinstance(count, int) or count < 0:
            raise ValueError("names something that is no storage")
        name = kind.name.rpartition(".")[2].removesuffix("Storage")
        size = count * ELEMENT_SIZES.get(name, 1)
        self.total += max(0, size - self.sizes.get(key, 0))
        self.sizes[key] = max(size, self.sizes.get(key, 0))
        if self.total > self.most:
            raise ValueError(f"asks for values of more than its {self.most} bytes")
        return _Called("storage")


def check_pickles(file: BinaryIO, count: int, most: int) -> None:
    """Read the pickles at a file's place.

    Args:
        file: an open file, or a member of an archive.
        count: the number of pickles, one behind the other.
        most: the most bytes that the storages may have together.

    Raises:
        pickle.UnpicklingError: it imports what no dict of tensors needs; "GLOBAL name".
        Exception: of any kind, for what is no pickle or asks for more memory than that.
    """
    content = file.read(MAX_PICKLE + 1)
    if len(content) > MAX_PICKLE:
        content = content[:MAX_PICKLE]  # of old files the storages follow
    stream = io.BytesIO(content)
    for _ in range(count):
        start = stream.tell()
        _must_be_short(stream)
        stream.seek(start)
        _Reader(stream, most).load()


def _must_be_short(stream: BinaryIO) -> None:
    """Go through a pickle without doing what it says.

    Python makes a list as long as the largest number under which a pickle remembers something.
    """
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and (argument or 0) > MAX_PICKLE:
            raise ValueError(f"remembers a value under the number {argument}")
