"""The header of a weights file, Darknet's and that of some ports.

    int32 major, minor, revision    little endian
    int32 or int64 seen             64 bits from version 0.2 on (the dialect has the exceptions)

PyTorch-YOLOv3 and its many copies write five int32, `0 0 0 seen 0`, if they did not start from
Darknet's weights: 20 bytes with a version for which Darknet reads 16, and all floats one place off.
"""

import struct
from io import FileIO
from itertools import accumulate
from pathlib import Path

from darknet_torch.errors import WeightsError, warn
from darknet_torch.network.network import Header
from darknet_torch.network.plan import Plan
from darknet_torch.parsing.dialect import Dialect
from darknet_torch.safety.foreign_files import known_kind

__all__ = ["header_bytes", "read_header"]


def read_header(
    file: FileIO, path: Path, plan: Plan, size: int, cutoff: int | None = None
) -> tuple[Header, int]:
    """Read the header of a weights file.

    Args:
        file: the open file, at its start; it is left at the first float.
        path: of the file, for messages.
        plan: of the network; its dialect decides the width of `seen`.
        size: of the file in bytes.
        cutoff: the number of layers to read, of a file that may have others behind them.

    Returns:
        The header, and its length in bytes (16 or 20).

    Raises:
        WeightsError: the file is not a weights file.
    """
    start = file.read(20)
    _check_header(start, path)
    major, minor, revision = struct.unpack("<iii", start[:12])
    wide = plan.context.dialect.seen_is_wide(major, minor)
    length = 20 if wide else 16
    if len(start) < length:
        raise _short_header(path, length, start)
    (seen,) = struct.unpack("<Q" if wide else "<I", start[12:length])
    if not wide and _has_five_numbers(start, plan, size, cutoff is not None):
        length = 20
        warn(
            f"{path}: its header has 20 bytes with version {major}.{minor}.{revision}, as"
            " PyTorch-YOLOv3 and its copies write it; Darknet would take 16, and every value one"
            " place off. It is read as it is meant, and saved with Darknet's header"
        )
    file.seek(length)
    return Header(major, minor, revision, seen), length


def _has_five_numbers(start: bytes, plan: Plan, size: int, is_cut: bool) -> bool:
    """Return whether the floats end with a layer only if they begin after 20 bytes.

    Of a file that may have other layers behind ours, the version decides: Darknet writes no 0.0.0.
    """
    ends = {*accumulate(node.floats for node in plan.nodes)}
    after_16, after_20 = ((size - length) / 4 for length in (16, 20))
    if start[16:20] != bytes(4) or after_16 in ends:
        return False
    return after_20 in ends or (is_cut and start[:12] == bytes(12))


def header_bytes(header: Header, dialect: Dialect) -> bytes:
    """Return a header as Darknet writes it; struct.error for numbers that it cannot hold."""
    wide = dialect.seen_is_wide(header.major, header.minor)
    return struct.pack("<iiiQ" if wide else "<iiiI", *header)


def _check_header(start: bytes, path: Path) -> None:
    if not start:
        raise WeightsError(f"{path}: is empty")
    if len(start) < 16:
        raise _short_header(path, 16, start)
    if (kind := known_kind(start)) is not None:
        raise WeightsError(f"{path}: is no weights file, but {kind}")
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in start):
        raise WeightsError(f"{path}: is a text, not a weights file; download it again")
    major, minor, revision = struct.unpack("<iii", start[:12])
    if not all(0 <= number <= 10_000 for number in (major, minor, revision)):
        raise WeightsError(
            f"{path}: is no weights file: its version would be {major}.{minor}.{revision}"
        )


def _short_header(path: Path, length: int, start: bytes) -> WeightsError:
    return WeightsError(
        f"{path}: ends inside its header: {length} bytes expected, {len(start)} in the file"
    )
