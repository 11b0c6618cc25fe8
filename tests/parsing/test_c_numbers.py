"""C's atoi and atof, compared with ones that read character by character."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from darknet_torch.parsing.c_numbers import atof, atoi

SPACE = " \t\n\v\f\r"


def c_atoi(text: str) -> int:
    """C's atoi on numbers without end, one character after the other."""
    position, sign, value = 0, 1, 0
    while position < len(text) and text[position] in SPACE:
        position += 1
    if position < len(text) and text[position] in "+-":
        sign = -1 if text[position] == "-" else 1
        position += 1
    while position < len(text) and text[position] in "0123456789":
        value = 10 * value + "0123456789".index(text[position])
        position += 1
    return sign * value


def c_atof(text: str) -> float:
    """C's atof for decimal numbers: the longest beginning that is one."""
    text = text.lstrip(SPACE)
    for end in range(len(text), 0, -1):
        head = text[:end]
        if set(head) <= set("0123456789+-.eE"):
            try:
                return float(head)
            except ValueError:
                continue
    return 0.0


LIKE_NUMBERS = st.text(alphabet="0123456789+-.eEx#, ", max_size=12)


@given(LIKE_NUMBERS | st.text(max_size=6) | st.integers().map(str))
@example("4#four")
@example("3.9")
@example("-")
@example("+7")
@example("--1")
@example("0000000000000000000005")
@example("\u0663")  # a digit in Arabic, none in C
def test_integers_as_c_reads_them(text: str) -> None:
    value = c_atoi(text)
    if abs(value) < 2**31:  # beyond, C overflows, and _integer refuses
        assert atoi(text) == value
    else:
        assert abs(atoi(text)) >= 2**31


@given(LIKE_NUMBERS | st.text(max_size=6) | st.floats(allow_nan=False).map(repr))
@example(".5x")
@example("1e")
@example("1e+")
@example("1.e2")
@example(".")
@example("-.5e-1#c")
@example("1e0005")
@example("0.5e-0001")
@example("\u0663.5")
def test_reals_as_c_reads_them(text: str) -> None:
    if text.lstrip(SPACE + "+-")[:1].lower() not in ("i", "n"):  # C's inf and nan: no cfg has them
        value = c_atof(text)
        if abs(value) < 3.4e38:
            assert atof(text) == pytest.approx(value, rel=1e-12, abs=1e-300)
        else:
            assert abs(atof(text)) >= 3.4e38
