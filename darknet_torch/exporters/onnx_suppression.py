"""Suppression inside an ONNX graph: the operator, or Darknet's other kinds as a loop.

The two scripts are graphs, not Python: onnxscript compiles them. Import this file where onnx and
onnxscript are known to be installed.

OpenCV crashes where it is to gather nothing, hence one row more than was found, cut off at last.
"""
# ruff: noqa: F821, RET504 (annotations are tensor shapes, and a graph returns a name)

from typing import Any

import numpy as np
import onnx
from onnxscript import FLOAT, INT64, script
from onnxscript import opset18 as op

__all__ = ["with_suppression"]

GREEDY_BETA = 0.6
NO_LIMIT = 2**31 - 1
PREFIX = "suppression_"


def with_suppression(
    model: onnx.ModelProto,
    threshold: float,
    nms: float,
    kind: str,
    beta: float,
    max_det: int | None,
) -> onnx.ModelProto:
    """Return a model with `detections` (K, 7) in place of `boxes` (B, N, 4), `scores` (B, N, C).

    A row is: number in the batch, left, top, right, bottom, score, class.
    kind: "default" is the operator NonMaxSuppression; "greedynms" and "diounms" (with its beta)
    are a loop. threshold: of the score; nms: of the overlap; max_det: most of a picture and class.
    """
    settings: dict[str, Any] = {
        "threshold": np.array([threshold], np.float32),
        "nms": np.array([nms], np.float32),
        "limit": np.array([NO_LIMIT if max_det is None else max_det], np.int64),
    }
    graph = by_operator if kind == "default" else by_loop
    if kind != "default":
        power = GREEDY_BETA if kind == "greedynms" else beta
        settings["beta"] = np.array([power], np.float32)
    tail = graph.to_model_proto()
    tail.opset_import[0].version = model.opset_import[0].version
    tail.ir_version = model.ir_version
    _type_loops(tail.graph)
    tail = onnx.compose.add_prefix(tail, PREFIX, rename_outputs=False)
    joints = [("boxes", f"{PREFIX}all_boxes"), ("scores", f"{PREFIX}all_scores")]
    whole = onnx.compose.merge_models(model, tail, io_map=joints)
    for name, value in settings.items():
        whole.graph.initializer.append(onnx.numpy_helper.from_array(value, PREFIX + name))
    inputs = [each for each in whole.graph.input if not each.name.startswith(PREFIX)]
    del whole.graph.input[:]
    whole.graph.input.extend(inputs)
    return whole


def _type_loops(graph: onnx.GraphProto) -> None:
    """Say what a loop's body takes and gives: the standard leaves it open, OpenCV asks."""
    types = (onnx.TensorProto.INT64, onnx.TensorProto.BOOL, onnx.TensorProto.FLOAT)
    for node in (node for node in graph.node if node.op_type == "Loop"):
        (body,) = (each.g for each in node.attribute if each.name == "body")
        for values, kinds in ((body.input, types), (body.output, types[1:])):
            for value, kind in zip(values, kinds, strict=True):
                shape = ["candidates"] if kind == onnx.TensorProto.FLOAT else []
                value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, kind, shape))


@script(default_opset=op)
def by_operator(
    all_boxes: FLOAT["B", "N", 4],
    all_scores: FLOAT["B", "N", "C"],
    threshold: FLOAT[1],
    nms: FLOAT[1],
    limit: INT64[1],
) -> FLOAT["K", 7]:
    """The operator of the standard, class by class."""
    one, axis = op.Constant(value_floats=[1.0]), op.Constant(value_int=0)
    by_class = op.Transpose(all_scores, perm=[0, 2, 1])
    chosen = op.NonMaxSuppression(all_boxes, by_class, limit, nms, threshold)
    chosen = op.Concat(chosen, [[0, 0, 0]], axis=0)
    score = op.GatherND(by_class, chosen)
    place = op.Gather(chosen, op.Constant(value_ints=[0, 2]), axis=1)
    boxes = op.GatherND(all_boxes, place)
    # OpenCV does not cast what this operator chose, so numbers are taken from lists of floats
    pictures = op.CumSum(op.Expand(one, op.Shape(all_scores, start=0, end=1)), axis, exclusive=1)
    classes = op.CumSum(op.Expand(one, op.Shape(all_scores, start=2, end=3)), axis, exclusive=1)
    picture = op.Gather(pictures, op.Gather(chosen, op.Constant(value_ints=[0]), axis=1))
    class_id = op.Gather(classes, op.Gather(chosen, op.Constant(value_ints=[1]), axis=1))
    rows = op.Concat(picture, boxes, op.Unsqueeze(score, [1]), class_id, axis=1)
    detections = op.Slice(rows, [0], [-1], [0])
    return detections


@script(default_opset=op)
def by_loop(
    all_boxes: FLOAT["B", "N", 4],
    all_scores: FLOAT["B", "N", "C"],
    threshold: FLOAT[1],
    nms: FLOAT[1],
    limit: INT64[1],
    beta: FLOAT[1],
) -> FLOAT["K", 7]:
    """IoU less (centre distance / enclosing diagonal) ** beta; as `boxes.suppress` computes it.

    All pairs of one picture and class that overlap are found at once; then every box that a
    living better box suppresses is struck out, until nothing changes.
    """
    # the candidates, the best first: (M, 3) picture, box, class
    found = op.Transpose(op.NonZero(op.Greater(all_scores, threshold)), perm=[1, 0])
    found = op.Concat(found, [[0, 0, 0]], axis=0)
    score = op.Slice(op.GatherND(all_scores, found), [0], [-1], [0])
    score = op.Concat(score, op.Constant(value_floats=[-1.0]), axis=0)
    score, order = op.TopK(score, op.Shape(score), axis=0)
    found = op.Gather(found, order, axis=0)
    boxes = op.GatherND(all_boxes, op.Gather(found, op.Constant(value_ints=[0, 1]), axis=1))
    group = op.Gather(found, op.Constant(value_ints=[0, 2]), axis=1)

    # pairs (M, M): the row is the better one
    low = op.Slice(boxes, [0], [2], [1])
    high = op.Slice(boxes, [2], [4], [1])
    low_a, low_b = op.Unsqueeze(low, [1]), op.Unsqueeze(low, [0])
    high_a, high_b = op.Unsqueeze(high, [1]), op.Unsqueeze(high, [0])
    zero = op.Constant(value_float=0.0)
    both = op.Max(op.Sub(op.Min(high_a, high_b), op.Max(low_a, low_b)), zero)
    shared = op.ReduceProd(both, [2], keepdims=0)
    area = op.ReduceProd(op.Sub(high, low), [1], keepdims=0)
    union = op.Sub(op.Add(op.Unsqueeze(area, [1]), op.Unsqueeze(area, [0])), shared)
    around = op.Sub(op.Max(high_a, high_b), op.Min(low_a, low_b))
    diagonal = op.ReduceSum(op.Mul(around, around), [2], keepdims=0)
    centre = op.Mul(op.Add(low, high), op.Constant(value_float=0.5))
    apart = op.Sub(op.Unsqueeze(centre, [1]), op.Unsqueeze(centre, [0]))
    distance = op.ReduceSum(op.Mul(apart, apart), [2], keepdims=0)
    iou = op.Where(op.Equal(union, zero), zero, op.Div(shared, union))
    share = op.Where(op.Equal(diagonal, zero), zero, op.Div(distance, diagonal))
    overlaps = op.Greater(op.Sub(iou, op.Pow(share, beta)), nms)

    # rivals: of one picture and class, the better one before the other
    same = op.ReduceMin(
        op.Cast(op.Equal(op.Unsqueeze(group, [1]), op.Unsqueeze(group, [0])), to=1),
        [2],
        keepdims=0,
    )
    rivals = op.Trilu(same, op.Constant(value_int=1), upper=1)
    hits = op.Mul(rivals, op.Cast(overlaps, to=1))

    # strike out until nothing changes
    alive = op.Cast(op.Equal(score, score), to=1)
    changed = op.Greater(op.ReduceSum(alive, keepdims=0), zero)
    while changed:
        struck = op.MatMul(op.Unsqueeze(alive, [0]), hits)
        after = op.Cast(op.Equal(op.Squeeze(struck, [0]), zero), to=1)
        difference = op.ReduceMax(op.Abs(op.Sub(after, alive)), keepdims=0)
        changed = op.Greater(difference, zero)
        alive = op.Identity(after)

    # at most `limit` of a picture and class
    ahead = op.Squeeze(op.MatMul(op.Unsqueeze(alive, [0]), rivals), [0])
    few = op.Less(ahead, op.Cast(limit, to=1))
    good = op.Or(op.And(few, op.Greater(alive, zero)), op.Less(score, zero))
    kept = op.Squeeze(op.NonZero(good), [0])
    row = op.Gather(found, kept, axis=0)
    numbers = op.Cast(row, to=1)
    picture, _, class_id = op.Split(numbers, num_outputs=3, axis=1)
    boxes, score = op.Gather(boxes, kept, axis=0), op.Gather(score, kept)
    rows = op.Concat(picture, boxes, op.Unsqueeze(score, [1]), class_id, axis=1)
    detections = op.Slice(rows, [0], [-1], [0])
    return detections
