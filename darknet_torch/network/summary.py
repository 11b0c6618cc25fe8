"""The table of layers that Darknet prints, with parameters, operations and memory."""

from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from darknet_torch.layers.base import Shape
from darknet_torch.network.plan import Node, Plan
from darknet_torch.network.schedule import schedule
from darknet_torch.safety.text import html_row

__all__ = ["Row", "Summary", "one_line", "summarize"]


@dataclass(frozen=True)
class Row:
    """A layer of the table.

    Attributes:
        index: index of the layer.
        section: name of its section.
        detail: window and stride, or the layers that it reads.
        inputs: indices of these layers; -1 is the image.
        input: shape of its first input: (channels, height, width), or (values, 0, 0).
        output: shape of its output.
        parameters: its floats in the weights file.
        flops: floating point operations for one image.
    """

    index: int
    section: str
    detail: str
    inputs: tuple[int, ...]
    input: Shape
    output: Shape
    parameters: int
    flops: int


@dataclass(frozen=True)
class Summary:
    """The table of a network's layers, and its totals.

    Attributes:
        rows: one per layer.
        parameters: floats in the weights file.
        flops: floating point operations for one image.
        memory: the most bytes of activations that exist at once in a forward pass of one image in
            float32.
    """

    rows: tuple[Row, ...]
    parameters: int
    flops: int
    memory: int

    def to_dict(self) -> dict[str, Any]:
        """Return the table as plain dicts, tuples, numbers and texts."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [
            f"{'layer':<22}{'size / source':<22}{'input':>20}    {'output':>20}{'weights':>12}"
        ]
        lines += map(_line, self.rows)
        lines.append(
            f"{self.parameters:,} parameters ({self.parameters * 4 / 1e6:.1f} MB),"
            f" {self.flops / 1e9:.3f} BFLOPs, {self.memory / 1e6:.1f} MB of activations at once"
        )
        return "\n".join(lines)

    def to_html(self, title: str) -> str:
        """Return the table as HTML, in which all texts are escaped.

        Args:
            title: what stands above it.
        """
        names = ["layer", "section", "size / source", "input", "output", "weights", "BFLOPs"]
        rows = [html_row("th", names), *(html_row("td", _cells(row)) for row in self.rows)]
        last = str(self).rpartition("\n")[2]
        return (
            f"<div><p>{escape(title)}</p><table>{''.join(rows)}</table><p>{escape(last)}</p></div>"
        )


def summarize(plan: Plan) -> Summary:
    """Return the summary of a plan; no tensor is made."""
    rows = tuple(_row(node) for node in plan)
    flops = sum(row.flops for row in rows)
    return Summary(rows, plan.floats, flops, _memory(plan))


def one_line(kind: str, plan: Plan) -> str:
    """Return what stands for a network of some kind where little room is."""
    heads = f", {plan.classes} classes" if plan.heads else ""
    name = Path(plan.net.section.file).name
    sizes = f"{len(plan)} layers, {plan.floats:,} parameters, input {plan.input}"
    return f"{kind}({name}: {sizes}{heads})"


def _row(node: Node) -> Row:
    return Row(
        index=node.index,
        section=node.name,
        detail=_detail(node),
        inputs=node.inputs,
        input=node.input_shapes[0],
        output=node.shape,
        parameters=node.floats,
        flops=node.layer.flops(*node.input_shapes),
    )


def _detail(node: Node) -> str:
    """Window and stride, or the layers that it reads if these are not just the one before."""
    size, stride = getattr(node.layer, "size", 0), getattr(node.layer, "stride", 0)
    if size and stride:
        groups = getattr(node.layer, "groups", 1)
        return f"{size} x {size} / {stride}" + (f", {groups} groups" if groups > 1 else "")
    parts = getattr(node.layer, "groups", 1)
    part = f" part {getattr(node.layer, 'group_id', 0) + 1} of {parts}" if parts > 1 else ""
    if part or node.inputs != (node.index - 1,):
        return ", ".join(str(index) for index in node.inputs) + part
    return f"x {stride}" if stride else ""


def _line(row: Row) -> str:
    shapes = [f"{w:>5} x{h:>5} x{c:>5}" if h else f"{c:>19}" for c, h, w in (row.input, row.output)]
    flops = f"  {row.flops / 1e9:.3f} BF" if row.flops else ""
    name = f"{row.index:>4} {row.section}"
    parameters = f"{row.parameters:>12,}" if row.parameters else " " * 12
    line = f"{name:<22}{row.detail:<22}{shapes[0]:>20} -> {shapes[1]:>20}{parameters}{flops}"
    return line.rstrip()


def _cells(row: Row) -> list[str]:
    shapes = [f"{w} x {h} x {c}" if h else str(c) for c, h, w in (row.input, row.output)]
    flops = f"{row.flops / 1e9:.3f}" if row.flops else ""
    parameters = f"{row.parameters:,}" if row.parameters else ""
    return [str(row.index), row.section, row.detail, *shapes, parameters, flops]


def _memory(plan: Plan) -> int:
    """Return the most bytes of activations that exist at once."""
    sizes = {-1: plan.input.size} | {node.index: node.shape.size for node in plan}
    current, most = sizes[-1], 0
    for step in schedule(plan, plan.outputs):
        current += sizes[step.index]
        most = max(most, current)
        current -= sum(sizes[index] for index in step.drop)
    return 4 * most
