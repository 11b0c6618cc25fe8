"""The forks as data: names, families, and the width of `seen`."""

import pytest

from darknet_torch.errors import UsageError
from darknet_torch.parsing.dialect import ALEXEYAB, DIALECTS, HANK_AI, PJREDDIE, Dialect, get


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, ALEXEYAB),
        (PJREDDIE, PJREDDIE),
        ("pjreddie", PJREDDIE),
        ("AlexeyAB", ALEXEYAB),
        ("hank_ai", HANK_AI),
        ("Hank-AI", HANK_AI),
    ],
)
def test_a_dialect_by_its_name(name: Dialect | str | None, expected: Dialect) -> None:
    assert get(name) is expected


@pytest.mark.parametrize("name", ["", "hank", "darknet"])
def test_an_unknown_dialect(name: str) -> None:
    with pytest.raises(UsageError, match="unknown; there are pjreddie, alexeyab, hank-ai"):
        get(name)


def test_families() -> None:
    both = {(a.name, b.name) for a in DIALECTS.values() for b in DIALECTS.values() if a.knows(b)}
    assert both - {("alexeyab", "hank-ai"), ("hank-ai", "alexeyab")} == {(n, n) for n in DIALECTS}
    assert len(both) == 5
    assert all(dialect.knows(None) for dialect in DIALECTS.values())


@pytest.mark.parametrize(
    ("dialect", "major", "minor", "wide"),
    [
        (PJREDDIE, 0, 1, False),
        (PJREDDIE, 0, 2, True),
        (PJREDDIE, 1, 0, True),
        (PJREDDIE, 999, 999, True),
        (PJREDDIE, 1000, 0, False),
        (PJREDDIE, 0, 1000, False),
        (ALEXEYAB, 0, 1, False),
        (ALEXEYAB, 0, 2, True),
        (ALEXEYAB, 1000, 1000, True),
    ],
)
def test_the_width_of_seen(dialect: Dialect, major: int, minor: int, wide: bool) -> None:
    """As in both forks' load_weights_upto."""
    assert dialect.seen_is_wide(major, minor) is wide
