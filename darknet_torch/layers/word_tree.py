"""Word trees: the class hierarchy of YOLO9000 and the probabilities along it.

A tree file has one line per class, `name parent`: the parent is a class index, or -1 at the root.
Consecutive classes of one parent form a group; each group has a softmax of its own.
"""

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from os import PathLike
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from darknet_torch.errors import CfgError
from darknet_torch.files import is_file
from darknet_torch.parsing.parser import read_lines

__all__ = ["Tree", "read_map", "read_tree"]


@dataclass(frozen=True)
class Tree:
    """The classes of a word tree in file order; `parent[i]` is the parent of class i, or -1."""

    names: tuple[str, ...]
    parent: tuple[int, ...]

    def __post_init__(self) -> None:
        """Compute the tables now, so that they are constants when a network is traced."""
        _ = (self.child_group, self.levels)

    def __len__(self) -> int:
        return len(self.parent)

    @cached_property
    def group_of(self) -> Tensor:
        """Group index of each class, (C,) int64."""
        parent = torch.tensor(self.parent, dtype=torch.int64, device="cpu")
        return torch.cat((parent.new_zeros(1), parent.diff().ne(0).cumsum(0)))

    @cached_property
    def child_group(self) -> Tensor:
        """Group index of each class's children, -1 for a leaf, (C,) int64."""
        child = torch.full((len(self),), -1, dtype=torch.int64, device="cpu")
        for number in range(len(self) - 1, -1, -1):  # the first group of a parent wins
            if self.parent[number] >= 0:
                child[self.parent[number]] = self.group_of[number]
        return child

    @cached_property
    def levels(self) -> tuple[Tensor, ...]:
        """Class indices of each depth below the root, each (n,) int64."""
        depth = [0] * len(self)
        for number, parent in enumerate(self.parent):
            depth[number] = 0 if parent < 0 else depth[parent] + 1
        depths = torch.tensor(depth, device="cpu")
        return tuple((depths == level).nonzero()[:, 0] for level in range(1, max(depth) + 1))

    @cached_property
    def paths(self) -> Tensor:
        """Each class and its ancestors up to the root, -1 behind it, (C, depth) int64."""
        parent = torch.tensor((*self.parent, -1), dtype=torch.int64, device="cpu")
        columns = [torch.arange(len(self), device="cpu")]
        for _ in self.levels:
            columns.append(parent[columns[-1]])
        return torch.stack(columns, dim=1)

    def log_softmax(self, x: Tensor) -> Tensor:
        """Compute the logarithm of the softmax of each group: (..., C) -> (..., C)."""
        rows, groups = self._rows(x), self.group_of.to(x.device, non_blocking=True)
        shifted = rows - self._over_groups("amax", rows.detach(), groups)[groups]
        return self._back(
            shifted - self._over_groups("sum", shifted.exp(), groups).log()[groups], x
        )

    def softmax(
        self, x: Tensor, temperature: float = 1.0, group_of: Tensor | None = None
    ) -> Tensor:
        """Compute the softmax of each group over the last axis: (..., C) -> (..., C).

        group_of: the tree's table where x is; None copies it there.
        """
        rows = self._rows(x / temperature)
        groups = self.group_of.to(x.device, non_blocking=True) if group_of is None else group_of
        powers = (rows - self._over_groups("amax", rows.detach(), groups)[groups]).exp()
        return self._back(powers / self._over_groups("sum", powers, groups)[groups], x)

    def absolute(self, p: Tensor) -> Tensor:
        """Multiply each conditional probability by those of all ancestors: (..., C) -> (..., C)."""
        rows = self._rows(p).clone()
        parent = torch.tensor(self.parent, dtype=torch.int64, device=p.device)
        for level in self.levels:
            level = level.to(p.device)
            rows[level] = rows[level] * rows[parent[level]]
        return self._back(rows, p)

    def walk(self, p: Tensor, threshold: float) -> Tensor:
        """Walk from the root to the best child while the product stays above `threshold`.

        Args:
            p: (..., C) absolute probabilities; they are multiplied once more along the walk, as
                Darknet does.
            threshold: lower bound of the product.

        Returns:
            (...) int64: the class index that the walk ends at.
        """
        rows = self._rows(p)
        groups = self.group_of.to(p.device)
        best = self._over_groups("amax", rows, groups)
        first = self._first_of_best(rows, best, groups)
        column = torch.arange(rows.shape[1], device=p.device)
        child_group = self.child_group.to(p.device)
        group, reached = torch.zeros_like(column), first[0]
        product = torch.ones_like(best[0])
        walking = torch.ones_like(column, dtype=torch.bool)
        for _ in range(len(self.levels) + 1):
            product = product * best[group, column]
            walking = walking & (product > threshold)
            reached = torch.where(walking, first[group, column], reached)
            walking = walking & (child_group[reached] >= 0)
            group = torch.where(walking, child_group[reached], group)
        return reached.view(p.shape[:-1])

    def _rows(self, x: Tensor) -> Tensor:
        """Flatten to a row per class, (C, N), so that a group is a run of rows."""
        return x.reshape(-1, len(self)).t().contiguous()

    def _back(self, rows: Tensor, like: Tensor) -> Tensor:
        return rows.t().reshape(like.shape)

    def _over_groups(
        self, reduction: Literal["amax", "sum"], rows: Tensor, groups: Tensor
    ) -> Tensor:
        """Maximum or sum of each group, (C, N) -> (C, N); rows after the last group are unused.

        They exist because OpenCV scatters into a tensor of the same shape only.
        """
        totals = torch.full_like(rows, -torch.inf if reduction == "amax" else 0.0)
        return totals.scatter_reduce(0, groups[:, None].expand_as(rows), rows, reduction)

    def _first_of_best(self, rows: Tensor, best: Tensor, groups: Tensor) -> Tensor:
        """The first class of each group that has the group's maximum, (C, N) int64."""
        is_best = rows == best[groups]
        rank = torch.arange(len(self), 0, -1, device=rows.device, dtype=torch.float32)
        return len(self) - self._over_groups("amax", is_best * rank[:, None], groups).long()


def read_tree(path: str | PathLike[str]) -> Tree:
    """Read a tree file.

    Raises:
        CfgError: the file cannot be read or has no class; a line is not `name parent`, or its
            parent is not on a line above.
    """
    path = Path(path)
    return _read_tree(path, path.stat().st_mtime_ns if is_file(path) else 0)


@lru_cache(maxsize=8)
def _read_tree(path: Path, _changed: int) -> Tree:
    names, parents = list[str](), list[int]()
    for number, line in read_lines(path):
        words = line.split()
        parent = _number(words[1]) if len(words) > 1 else None
        if parent is None or not -1 <= parent < len(parents):
            raise CfgError(f"{path}:{number}: must be `name parent`, the parent on a line above")
        names.append(words[0])
        parents.append(parent)
    if not names:
        raise CfgError(f"{path}: no class in it")
    return Tree(tuple(names), tuple(parents))


def read_map(path: str | PathLike[str], classes: int) -> tuple[int, ...]:
    """Read a map file: a class index below `classes` on each line.

    Raises:
        CfgError: the file cannot be read, or a line is anything else.
    """
    numbers = [_number(line) for _, line in read_lines(Path(path))]
    valid = tuple(number for number in numbers if number is not None and 0 <= number < classes)
    if not numbers or len(valid) < len(numbers):
        raise CfgError(f"{path}: every line must be a class index from 0 to {classes - 1}")
    return valid


def _number(word: str) -> int | None:
    return int(word) if re.fullmatch(r"-?\d{1,9}", word, re.ASCII) else None
