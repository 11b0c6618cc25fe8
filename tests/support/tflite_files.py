"""Files of TensorFlow Lite, written without its converter: fully connected layers with ReLU."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from darknet_torch.network import Network

__all__ = ["write_tflite"]


def write_tflite(
    network: Network, path: Path, names: Sequence[str] = (), *, signature: bool = False
) -> None:
    """Write a network of [connected] layers with the activation relu, as another converter would.

    Args:
        network: its layers have weights and biases alone.
        path: the file.
        names: of the layers' outputs; none are "y0", "y1" ...
        signature: whether input and output have names for callers, "images" and "output".
    """
    flatbuffers = pytest.importorskip("flatbuffers", reason="ai-edge-litert is not installed")
    schema: Any = pytest.importorskip(
        "ai_edge_litert.schema_py_generated", reason="ai-edge-litert is not installed"
    )
    graph, model, code = schema.SubGraphT(), schema.ModelT(), schema.OperatorCodeT()
    graph.tensors, graph.operators, model.buffers = [], [], [schema.BufferT()]

    def tensor(name: str, shape: Sequence[int], values: torch.Tensor | None = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type = name, list(shape), schema.TensorType.FLOAT32
        made.buffer = 0
        if values is not None:
            made.buffer = len(model.buffers)
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = list(values.detach().numpy().tobytes())
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    source = first = tensor("x", (1, network.plan.input.c))
    for index, layer in enumerate(network.layers):
        bias, weight = sorted(layer.parameters(), key=torch.Tensor.dim)
        operator, options = schema.OperatorT(), schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU
        operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
        operator.builtinOptions, operator.opcodeIndex = options, 0
        operator.inputs = [
            source,
            tensor(f"weight{index}", weight.shape, weight),
            tensor(f"bias{index}", bias.shape, bias),
        ]
        source = tensor(names[index] if names else f"y{index}", (1, weight.shape[0]))
        operator.outputs = [source]
        graph.operators.append(operator)
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    graph.inputs, graph.outputs = [first], [source]
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    if signature:
        model.signatureDefs = [_signature(schema, first, source)]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))


def _signature(schema: Any, first: int, last: int) -> Any:
    """Return names for an input and an output."""
    made = schema.SignatureDefT()
    made.signatureKey, made.subgraphIndex = "serving_default", 0
    made.inputs, made.outputs = [schema.TensorMapT()], [schema.TensorMapT()]
    made.inputs[0].name, made.inputs[0].tensorIndex = "images", first
    made.outputs[0].name, made.outputs[0].tensorIndex = "output", last
    return made
