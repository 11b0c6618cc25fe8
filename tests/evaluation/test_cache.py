"""Records as lines of files: damaged lines and other keys."""

from pathlib import Path

import numpy as np
import pytest

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
