"""Input of ONNX files as images lie in memory: uint8 (B, H, W, C), scaled inside of the file."""

from typing import Any

import numpy as np

from darknet_torch.extras import require

__all__ = ["with_uint8_input"]


def with_uint8_input(model: Any) -> Any:
    """Change a model's input from float32 (B, C, H, W) in 0..1 to uint8 (B, H, W, C) in 0..255.

    Args:
        model: an onnx.ModelProto with the one input `images`.

    Returns:
        The same model, changed.
    """
    onnx = require("onnx", "onnx")
    helper, graph = onnx.helper, model.graph
    (images,) = graph.input
    batch, channels, *sides = (_size(dim) for dim in images.type.tensor_type.shape.dim)
    for node in graph.node:
        node.input[:] = ["images_float" if name == "images" else name for name in node.input]
    graph.initializer.append(
        onnx.numpy_helper.from_array(np.array(1 / 255, np.float32), "images_scale")
    )
    steps = [
        helper.make_node("Cast", ["images"], ["images_cast"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Transpose", ["images_cast"], ["images_nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["images_nchw", "images_scale"], ["images_float"]),
    ]
    nodes = [*steps, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    shape = [batch, *sides, channels]
    images.CopyFrom(helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, shape))
    return model


def _size(dim: Any) -> int | str:
    return str(dim.dim_param) if dim.dim_param else int(dim.dim_value)
