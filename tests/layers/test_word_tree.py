"""Word trees against plain loops over classes."""

import math
import os
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darknet_torch.errors import CfgError
from darknet_torch.layers.word_tree import Tree, read_map, read_tree

Numbers = list[float]

# two groups at the root's children, one leaf in between
PARENTS = (-1, -1, -1, 0, 0, 2, 2, 2, 3, 3)


def tree_of(parents: tuple[int, ...]) -> Tree:
    return Tree(tuple(f"c{i}" for i in range(len(parents))), parents)


def naive_groups(parents: tuple[int, ...]) -> list[int]:
    groups = [0]
    for before, parent in pairwise(parents):
        groups.append(groups[-1] + (parent != before))
    return groups


def naive_softmax(parents: tuple[int, ...], x: Numbers, temperature: float = 1.0) -> Numbers:
    groups = naive_groups(parents)
    out = []
    for value, group in zip(x, groups, strict=True):
        mine = [v for v, g in zip(x, groups, strict=True) if g == group]
        top = max(mine)
        out.append(
            math.exp((value - top) / temperature)
            / sum(math.exp((v - top) / temperature) for v in mine)
        )
    return out


def naive_absolute(parents: tuple[int, ...], p: Numbers) -> Numbers:
    out = list(p)
    for number, parent in enumerate(parents):
        if parent >= 0:
            out[number] *= out[parent]
    return out


def naive_walk(parents: tuple[int, ...], p: Numbers, threshold: float) -> int:
    """From group 0: take the best child while the running product stays above the threshold."""
    groups = naive_groups(parents)
    product, group = 1.0, 0
    while True:
        members = [i for i, g in enumerate(groups) if g == group]
        best = max(members, key=lambda i: p[i])
        if product * p[best] <= threshold:
            above = parents[members[0]]
            return best if group == 0 else above
        product *= p[best]
        children = [groups[i] for i, parent in enumerate(parents) if parent == best]
        if not children:
            return best
        group = children[0]


@st.composite
def trees(draw: st.DrawFn) -> tuple[int, ...]:
    """Parents in whole groups, each group's parent on a line above, the root level first."""
    parents = [-1] * draw(st.integers(1, 4))
    free = list(range(len(parents)))
    for _ in range(draw(st.integers(0, 5))):
        parent = free.pop(draw(st.integers(0, len(free) - 1)))
        first = len(parents)
        parents += [parent] * draw(st.integers(1, 4))
        free += range(first, len(parents))
    return tuple(parents)


def scores(draw: st.DrawFn, count: int) -> Numbers:
    # distinct: equal children are a toss-up
    return draw(
        st.lists(
            st.integers(-80, 80).map(lambda n: n / 16), min_size=count, max_size=count, unique=True
        )
    )


@given(st.data(), trees(), st.sampled_from([1.0, 0.5, 3.0]))
def test_softmax(data: st.DataObject, parents: tuple[int, ...], temperature: float) -> None:
    tree = tree_of(parents)
    rows = [scores(data.draw, len(parents)) for _ in range(2)]
    result = tree.softmax(torch.tensor(rows, dtype=torch.float64), temperature)
    for row, out in zip(rows, result.tolist(), strict=True):
        assert out == pytest.approx(naive_softmax(parents, row, temperature))
    deep = tree.softmax(torch.tensor(rows, dtype=torch.float64)[None, :, None], temperature)
    assert torch.equal(deep[0, :, 0], result)


@given(st.data(), trees(), st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.8]))
def test_absolute_and_walk(data: st.DataObject, parents: tuple[int, ...], limit: float) -> None:
    tree = tree_of(parents)
    rows = [naive_softmax(parents, scores(data.draw, len(parents))) for _ in range(3)]
    given_rows = torch.tensor(rows, dtype=torch.float64)
    before = given_rows.clone()
    absolute = tree.absolute(given_rows)
    assert torch.equal(given_rows, before)
    expected = [naive_absolute(parents, row) for row in rows]
    assert absolute.tolist() == [pytest.approx(row) for row in expected]
    result = tree.walk(absolute, limit)
    assert result.tolist() == [naive_walk(parents, row, limit) for row in absolute.tolist()]
    assert result.dtype == torch.int64


@given(trees())
def test_groups(parents: tuple[int, ...]) -> None:
    tree = tree_of(parents)
    groups = naive_groups(parents)
    assert len(tree) == len(parents)
    assert tree.group_of.tolist() == groups
    for number, child in enumerate(tree.child_group.tolist()):
        assert child == next((groups[i] for i, p in enumerate(parents) if p == number), -1)
    below = [number for level in tree.levels for number in level.tolist()]
    assert sorted(below) == [i for i, p in enumerate(parents) if p >= 0]


def test_a_group_that_stands_apart_is_a_group_of_its_own() -> None:
    """Only neighbours are grouped; a class's children are its first group."""
    parents = (-1, -1, 0, 0, 1, 0)
    tree = tree_of(parents)
    assert tree.group_of.tolist() == [0, 0, 1, 1, 2, 3]
    assert tree.child_group.tolist() == [1, 2, -1, -1, -1, -1]
    assert tree.softmax(torch.zeros(6)).tolist() == [0.5, 0.5, 0.5, 0.5, 1.0, 1.0]


def test_walk_stops_above() -> None:
    p = naive_absolute(PARENTS, [0.7, 0.1, 0.2, 0.9, 0.1, 0.5, 0.3, 0.2, 0.95, 0.05])
    tree, row = tree_of(PARENTS), torch.tensor([p])
    # 0.7, then 0.7 * 0.63, then 0.7 * 0.63 * 0.5985
    for limit, expected in ((0.2, 8), (0.3, 3), (0.5, 0), (0.9, 0)):
        assert tree.walk(row, limit).item() == expected == naive_walk(PARENTS, p, limit)


def test_walk_of_nothing() -> None:
    assert tree_of(PARENTS).walk(torch.empty(0, len(PARENTS)), 0.5).shape == (0,)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_tree_file(tmp_path: Path) -> None:
    path = write(tmp_path / "my.tree", "n01 -1\r\n\nn02\t0\n  n03   0 \n")
    assert read_tree(path) == Tree(("n01", "n02", "n03"), (-1, 0, 0))


def test_changed_tree_file_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "my.tree", "a -1\n")
    assert read_tree(str(path)).names == ("a",)
    write(path, "b -1\n")
    os.utime(path, (1, 1))
    assert read_tree(str(path)).names == ("b",)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a -1\nb\n", 2),
        ("a 0\n", 1),
        ("a -1\n\nb 1\n", 3),
        ("a -1\nb 7\n", 2),
        ("a -2\n", 1),
        ("a -1\nb x\n", 2),
        ("a -1\nblue whale 0\n", 2),
    ],
)
def test_malformed_tree(text: str, line: int, tmp_path: Path) -> None:
    with pytest.raises(CfgError, match=rf"my\.tree:{line}: must be `name parent`"):
        read_tree(write(tmp_path / "my.tree", text))


def test_tree_without_classes(tmp_path: Path) -> None:
    with pytest.raises(CfgError, match="no class in it"):
        read_tree(write(tmp_path / "my.tree", "\n\n"))


@pytest.mark.parametrize("reader", [read_tree, lambda path: read_map(path, 9)], ids=["tree", "map"])
def test_files_that_cannot_be_read(reader: object, tmp_path: Path) -> None:
    assert callable(reader)
    with pytest.raises(CfgError, match="cannot be read"):
        reader(tmp_path / "no.tree")
    with pytest.raises(CfgError, match="is a folder"):
        reader(tmp_path)
    (tmp_path / "binary").write_bytes(b"a -1\n\0")
    with pytest.raises(CfgError, match="binary"):
        reader(tmp_path / "binary")


def test_map_file(tmp_path: Path) -> None:
    path = write(tmp_path / "my.map", "3\n\n 0 \r\n3\n")
    assert read_map(path, 4) == (3, 0, 3)


@pytest.mark.parametrize("text", ["", "4\n", "-1\n", "0\nx\n"])
def test_malformed_map(text: str, tmp_path: Path) -> None:
    with pytest.raises(CfgError, match="every line must be a class index from 0 to 3"):
        read_map(write(tmp_path / "my.map", text), 4)


@settings(max_examples=20)
@given(trees())
def test_random_trees_from_files(
    tmp_path_factory: pytest.TempPathFactory, parents: tuple[int, ...]
) -> None:
    path = tmp_path_factory.mktemp("tree") / "my.tree"
    path.write_text("".join(f"c{i} {p}\n" for i, p in enumerate(parents)))
    assert read_tree(path) == tree_of(parents)
