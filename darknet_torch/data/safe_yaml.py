"""YAML from untrusted files: no aliases, no tags, of limited size, in any bytes."""

from pathlib import Path
from typing import Any

import yaml

from darknet_torch.data.messages import shown
from darknet_torch.errors import DataError
from darknet_torch.parsing.parser import read_text
from darknet_torch.safety.text import printable

__all__ = ["load_yaml"]

MAX_YAML = 1 << 18  # the pure Python loader takes seconds for that


def load_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file; aliases raise (a few of them can make gigabytes)."""
    text = read_text(path, MAX_YAML, DataError, "a YAML")
    try:
        content = _with_bytes(yaml.load(text.translate(_HIDDEN), _Loader))
    except DataError as error:
        raise DataError(f"{printable(str(path))}:{error}") from error
    except Exception as error:  # of odd dates, numbers and tags the loader raises nearly anything
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or type(error).__name__
        raise DataError(f"{printable(str(path))}{line}: no YAML: {shown(str(what))}") from error
    if not isinstance(content, dict):
        raise DataError(
            f"{printable(str(path))}: `key: value` lines expected, such as `val: photos`"
        )
    return content


_HIDDEN = {0xDC00 + byte: 0xF700 + byte for byte in range(0x80, 0x100)}
"""Bytes that are no UTF-8, as surrogates -> as private letters, which YAML allows."""
_SHOWN = {hidden: surrogate for surrogate, hidden in _HIDDEN.items()}


def _with_bytes(value: Any) -> Any:
    """Return what YAML gave with the bytes that were hidden from it."""
    if isinstance(value, str):
        return value.translate(_SHOWN)
    if isinstance(value, list):
        return [_with_bytes(each) for each in value]
    if isinstance(value, dict):
        return {_with_bytes(key): _with_bytes(each) for key, each in value.items()}
    return value


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
            raise DataError(f"{line}: an alias (*name); write out what it stands for")
        return super().compose_node(parent, index)
