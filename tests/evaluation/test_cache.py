"""Records as lines of files: damaged lines and other keys."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from full_disk import limited_files

from darknet_torch.errors import DarknetWarning, UsageError
from darknet_torch.evaluation.cache import Record, RecordCache, decode, encode


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[1]",
        '{"picture":-1,"error":null,"rows":[]}',
        '{"picture":1,"error":null,"rows":[[1,2,3]]}',
        '{"picture":1,"error":null,"rows":[[1,2,3,4,5,1e99]]}',
        '{"picture":1,"error":7,"rows":[]}',
        '{"picture":"x","error":null,"rows":[]}',
        '{"picture":1e999,"error":null,"rows":[]}',
        "[" * 100_000,
    ],
)
def test_damaged_records_count_as_absent(line: str) -> None:
    good = Record(2, np.array([[1, 0.1, 2, 3, 4, 5]], np.float32), 'with "quotes"\nand a line')
    records = list(decode([line, *encode(good).splitlines(keepends=True)]))
    assert [(r.image, r.rows.tolist(), r.error) for r in records] == [
        (2, good.rows.tolist(), good.error)
    ]


def test_a_file_of_another_key_is_not_read(tmp_path: Path) -> None:
    key = "a" * 64
    with RecordCache(tmp_path, key) as records:
        records.add([Record(0, np.zeros((0, 6), np.float32))])
    assert RecordCache(tmp_path, key).read().keys() == {0}
    assert not RecordCache(tmp_path, key[:-1] + "b").read()


KEY = "a" * 64
NOTHING = np.zeros((0, 6), np.float32)


@pytest.mark.parametrize("start", ["", "aaa", "a" * 64, "\n" + "a" * 64 + "\n", "\n\n", "b" * 64])
def test_a_file_that_was_stopped_before_its_key_starts_anew(start: str, tmp_path: Path) -> None:
    path = tmp_path / f"{KEY[:32]}-0.jsonl"
    path.write_text(start)
    with RecordCache(tmp_path, KEY) as records:
        assert path.read_text() == f"{KEY}\n", "the key is in the file at once"
        records.add([Record(3, NOTHING)])
    assert RecordCache(tmp_path, KEY).read().keys() == {3}


def test_records_stay_when_a_run_was_stopped(tmp_path: Path) -> None:
    with RecordCache(tmp_path, KEY) as records:
        records.add([Record(1, NOTHING)])
    path = tmp_path / f"{KEY[:32]}-0.jsonl"
    path.write_text(path.read_text() + '{"picture":2,"err')
    with RecordCache(tmp_path, KEY) as records:
        records.add([Record(3, NOTHING)])
    assert RecordCache(tmp_path, KEY).read().keys() == {1, 3}


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_may_only_be_read(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RecordCache(tmp_path, KEY) as records:
        records.add([Record(1, NOTHING)])

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("darknet_torch.evaluation.cache.FileIO", refuse)
    cache = RecordCache(tmp_path, KEY)
    assert cache.read().keys() == {1}
    with pytest.warns(DarknetWarning, match="cannot be written .*, so nothing is added"), cache:
        cache.add([Record(2, NOTHING)])
    assert cache.read().keys() == {1}


def test_a_full_disk_is_an_error_of_one_line(tmp_path: Path) -> None:
    with limited_files(10), pytest.raises(UsageError, match=r"-0\.jsonl: .*: File too large$"):
        (cache := RecordCache(tmp_path, KEY)).__enter__()
    assert cache._file is not None and cache._file.closed
    with RecordCache(tmp_path, KEY) as records:
        records.add([Record(1, NOTHING)])
    assert RecordCache(tmp_path, KEY).read().keys() == {1}


def test_a_disk_that_becomes_full(tmp_path: Path) -> None:
    """What was written before stays; closing says nothing more."""
    with pytest.raises(UsageError, match="File too large"), RecordCache(tmp_path, KEY) as records:
        records.add([Record(1, NOTHING)])
        with limited_files(200):
            records.add(Record(number, NOTHING) for number in range(2, 9))
    assert 1 in RecordCache(tmp_path, KEY).read()


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / f"{KEY[:32]}-0.jsonl").mkdir()
    with pytest.raises(UsageError, match="cannot be read or written: Is a directory"):
        RecordCache(tmp_path, KEY).read()
    with pytest.raises(UsageError, match="Is a directory"):
        RecordCache(tmp_path, KEY).__enter__()
