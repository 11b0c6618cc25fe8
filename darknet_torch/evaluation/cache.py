"""What was found in each picture, as lines of JSON: kept in a file, or sent to another process.

The first line of a file holds a key, a digest of everything that the findings depend on. A line
that is damaged, as the last one is when the program is stopped in its midst, counts as absent.
"""

import json
from collections.abc import Iterable, Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from darknet_torch.errors import UsageError

__all__ = ["Record", "Records", "decode", "encode"]

Array = npt.NDArray[Any]
WIDTH = 6


class Record(NamedTuple):
    """One picture: its place in the data set, its rows, and the error that it met, if any.

    rows: (N, 6) float32: class, score, then left, top, right, bottom in pixels.
    """

    picture: int
    rows: Array
    error: str | None = None


def encode(record: Record) -> str:
    """A record as one line; nine digits hold all of a float32."""
    rows = ",".join(f"[{','.join(f'{v:.9g}' for v in row)}]" for row in record.rows.tolist())
    error = json.dumps(record.error)
    return f'{{"picture":{record.picture},"error":{error},"rows":[{rows}]}}\n'


def decode(lines: Iterable[str]) -> Iterator[Record]:
    """The records of lines; damaged lines are passed over."""
    for line in lines:
        record = _decoded(line)
        if record is not None:
            yield record


def _decoded(line: str) -> Record | None:
    try:
        found = json.loads(line)
        with np.errstate(over="ignore"):
            rows = np.array(found["rows"], np.float32).reshape(-1, WIDTH)
        record = Record(int(found["picture"]), rows, found["error"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    whole = bool(np.isfinite(rows).all()) and record.picture >= 0
    return record if whole and isinstance(record.error, str | None) else None


class Records:
    """A folder's files of records with one key; each process appends to a file of its own."""

    def __init__(self, folder: Path, key: str, rank: int = 0) -> None:
        self.folder, self.key = folder, key
        self.path = folder / f"{key[:32]}-{rank}.jsonl"
        self._file: TextIOWrapper | None = None

    def read(self) -> dict[int, Record]:
        """Everything that is known, by picture, whichever process wrote it."""
        found: dict[int, Record] = {}
        for path in sorted(self.folder.glob(f"{self.key[:32]}-*.jsonl")):
            with path.open(encoding="utf-8", errors="replace") as lines:
                if next(lines, "").strip() == self.key:
                    found |= {record.picture: record for record in decode(lines)}
        return found

    def __enter__(self) -> Self:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            fresh = not self.path.exists()
            self._file = self.path.open("a", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{self.path}: cannot be written: {error.strerror}") from error
        # a line that was cut off must not swallow the next one
        self._file.write(f"{self.key}\n" if fresh else "\n")
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, records: Iterable[Record]) -> None:
        """Append records; they are in the file when this returns."""
        if self._file is None:
            raise UsageError("records are written inside a with block")
        self._file.writelines(encode(record) for record in records)
        self._file.flush()
