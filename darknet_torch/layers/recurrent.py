"""[rnn], [gru], [lstm]: recurrent layers of vectors.

The forks differ in hidden sizes, in the order of the weights file, and in whether the output is a
vector or a map of one pixel.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from darknet_torch.layers.activation import activate
from darknet_torch.layers.base import Layer, Segment, Shape
from darknet_torch.layers.blocks import Linear, linear_segments
from darknet_torch.layers.registry import layer
from darknet_torch.parsing.dialect import ALEXEYAB, PJREDDIE
from darknet_torch.parsing.options import Activation, option


@dataclass(frozen=True, kw_only=True)
class Recurrent(Layer, ABC):
    """A layer made of matrices, each with biases and perhaps batch norm of its own.

    `matrices` yields their names in file order, with the number of inputs and outputs of each.
    """

    output: int = option(1, check=lambda n: n > 0, expected="at least 1")
    batch_normalize: bool = option(False)

    @abstractmethod
    def matrices(self, inputs: int) -> Iterable[tuple[str, int, int]]:
        """Yield (name, inputs, outputs) in file order."""

    def shape(self, *inputs: Shape) -> Shape:
        """Return a vector."""
        return Shape(self.output)

    def weights(self, *shapes: Shape) -> Iterable[Segment]:
        """Yield each matrix's segments, in the order of a [connected] layer."""
        for name, inputs, outputs in self.matrices(shapes[0].size):
            yield from linear_segments(inputs, outputs, self.batch_normalize, f"{name}.")

    def flops(self, *shapes: Shape) -> int:
        """Two operations for each weight."""
        return sum(2 * a * b for _, a, b in self.matrices(shapes[0].size))

    def linears(self, inputs: int) -> dict[str, Linear]:
        """Return the modules of the matrices, by name."""
        return {
            name: Linear(n, m, self.batch_normalize, self.dialect)
            for name, n, m in self.matrices(inputs)
        }


@dataclass(frozen=True, kw_only=True)
class Elman(Recurrent):
    """s' = act(input x) + act(self s) (+ s with `shortcut`); output = act(output s')."""

    activation: Activation = option(Activation("logistic"))
    shortcut: bool = option(False)

    @property
    @abstractmethod
    def hidden_size(self) -> int:
        """Length of the state."""

    @property
    def self_activation(self) -> str:
        """Activation of the state's own matrix."""
        return self.activation

    def matrices(self, inputs: int) -> Iterable[tuple[str, int, int]]:
        """Yield the matrices of input, state and output."""
        yield "input_layer", inputs, self.hidden_size
        yield "self_layer", self.hidden_size, self.hidden_size
        yield "output_layer", self.hidden_size, self.output

    def state(self, *shapes: Shape) -> tuple[Shape, ...]:
        """Return the hidden vector's shape."""
        return (Shape(self.hidden_size),)

    def build(self, *shapes: Shape) -> nn.Module:
        """Return the cell."""
        return ElmanCell(self, shapes[0].size, self.shape(*shapes))


@layer("rnn", only=PJREDDIE)
class Rnn(Elman):
    """[rnn] of pjreddie: vector -> vector; the state has the length of the output."""

    @property
    def hidden_size(self) -> int:
        """Length of the state."""
        return self.output


@layer("rnn", only=ALEXEYAB)
class RnnAlexey(Elman):
    """[rnn] of AlexeyAB: vector -> (output, 1, 1); the state has a length of its own."""

    hidden: int = option(1, check=lambda n: n > 0, expected="at least 1")
    logistic: int = option(0)

    @property
    def hidden_size(self) -> int:
        """Length of the state."""
        return self.hidden

    @property
    def self_activation(self) -> str:
        """Activation of the state's own matrix: logistic=1, loggy=2, else the layer's."""
        return {1: "logistic", 2: "loggy"}.get(self.logistic, self.activation)

    def shape(self, *inputs: Shape) -> Shape:
        """Return a map of one pixel."""
        return Shape(self.output, 1, 1)


class ElmanCell(nn.Module):
    """(B, ...), (B, hidden) -> output, (B, hidden)."""

    def __init__(self, layer: Elman, inputs: int, shape: Shape) -> None:
        super().__init__()
        self.layer, self.vector = layer, shape.is_vector
        for name, module in layer.linears(inputs).items():
            self.add_module(name, module)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Compute one time step."""
        layer, own = self.layer, self.get_submodule
        new = activate(layer.activation, own("input_layer")(x))
        new = new + activate(layer.self_activation, own("self_layer")(state))
        if layer.shortcut:
            new = new + state[..., None, None]
        out = activate(layer.activation, own("output_layer")(new))
        return (out.flatten(1) if self.vector else out), new.flatten(1)


@dataclass(frozen=True, kw_only=True)
class Gated(Recurrent):
    """A layer of gates, each with a matrix u of the input and a matrix w of the state."""

    GATES: ClassVar[dict[str, str]]
    """Name of a matrix -> its role: u or w, and the gate's letter; in file order."""

    def matrices(self, inputs: int) -> Iterable[tuple[str, int, int]]:
        """Yield the matrices of all gates."""
        for name, role in self.GATES.items():
            yield name, (self.output if role[0] == "w" else inputs), self.output


@dataclass(frozen=True, kw_only=True)
class GruLayer(Gated):
    """z, r: logistic gates; h = act(uh x + wh (r s)); output and state z s + (1 - z) h."""

    @property
    def candidate_activation(self) -> str:
        """Activation of the candidate: Darknet's default is the logistic function."""
        return "logistic"

    def state(self, *shapes: Shape) -> tuple[Shape, ...]:
        """Return the hidden vector's shape."""
        return (Shape(self.output),)

    def build(self, *shapes: Shape) -> nn.Module:
        """Return the cell."""
        return GruCell(self, shapes[0].size)


@layer("gru", only=PJREDDIE)
class Gru(GruLayer):
    """[gru] of pjreddie: vector -> vector."""

    GATES: ClassVar[dict[str, str]] = {name: name for name in ("wz", "wr", "wh", "uz", "ur", "uh")}
    tanh: bool = option(False)

    @property
    def candidate_activation(self) -> str:
        """Activation of the candidate."""
        return "tanh" if self.tanh else "logistic"


@layer("gru", only=ALEXEYAB)
class GruAlexey(GruLayer):
    """[gru] of AlexeyAB: vector -> vector; the input's matrices are first in the file."""

    GATES: ClassVar[dict[str, str]] = {
        "input_z_layer": "uz",
        "input_r_layer": "ur",
        "input_h_layer": "uh",
        "state_z_layer": "wz",
        "state_r_layer": "wr",
        "state_h_layer": "wh",
    }


@dataclass(frozen=True, kw_only=True)
class LstmLayer(Gated):
    """f, i, o: logistic gates; g: tanh; c' = f c + i g; output and state o tanh(c')."""

    def state(self, *shapes: Shape) -> tuple[Shape, ...]:
        """Return the shapes of output and cell."""
        return (Shape(self.output), Shape(self.output))

    def build(self, *shapes: Shape) -> nn.Module:
        """Return the cell."""
        return LstmCell(self, shapes[0].size, self.shape(*shapes))


@layer("lstm", only=PJREDDIE)
class Lstm(LstmLayer):
    """[lstm] of pjreddie: vector -> vector."""

    GATES: ClassVar[dict[str, str]] = {
        name: name for name in ("wi", "wf", "wo", "wg", "ui", "uf", "uo", "ug")
    }


@layer("lstm", only=ALEXEYAB)
class LstmAlexey(LstmLayer):
    """[lstm] of AlexeyAB: vector -> (output, 1, 1); another order in the file."""

    GATES: ClassVar[dict[str, str]] = {
        name: name for name in ("wf", "wi", "wg", "wo", "uf", "ui", "ug", "uo")
    }

    def shape(self, *inputs: Shape) -> Shape:
        """Return a map of one pixel."""
        return Shape(self.output, 1, 1)


class GatedCell(nn.Module):
    """The matrices of all gates."""

    def __init__(self, layer: Gated, inputs: int) -> None:
        super().__init__()
        self.layer = layer
        self.names = {role: name for name, role in layer.GATES.items()}
        for name, module in layer.linears(inputs).items():
            self.add_module(name, module)

    def apply_matrix(self, role: str, x: Tensor) -> Tensor:
        """Apply the matrix of that role: (B, ...) -> (B, n)."""
        y: Tensor = self.get_submodule(self.names[role])(x)
        return y.flatten(1)

    def gate(self, letter: str, x: Tensor, state: Tensor) -> Tensor:
        """Return u x + w s of a gate."""
        return self.apply_matrix(f"u{letter}", x) + self.apply_matrix(f"w{letter}", state)


class GruCell(GatedCell):
    """(B, ...), (B, n) -> (B, n), (B, n)."""

    layer: GruLayer

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Compute one time step."""
        z = torch.sigmoid(self.gate("z", x, state))
        r = torch.sigmoid(self.gate("r", x, state))
        candidate = activate(self.layer.candidate_activation, self.gate("h", x, r * state))
        new = z * state + (1 - z) * candidate
        return new, new


class LstmCell(GatedCell):
    """(B, ...), (B, n), (B, n) -> output, (B, n), (B, n)."""

    def __init__(self, layer: LstmLayer, inputs: int, shape: Shape) -> None:
        super().__init__(layer, inputs)
        self.vector = shape.is_vector

    def forward(self, x: Tensor, state: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute one time step."""
        f, i, o = (torch.sigmoid(self.gate(letter, x, state)) for letter in "fio")
        cell = f * cell + i * torch.tanh(self.gate("g", x, state))
        new = o * torch.tanh(cell)
        return (new if self.vector else new[..., None, None]), new, cell
