"""NMS inside an ONNX graph: the standard's operator, or Darknet's other kinds as a loop.

The two scripts are graphs, not Python: onnxscript compiles them. Import this file where onnx and
onnxscript are known to be installed.

OpenCV crashes where it gathers no rows, hence one row more than there are detections; the last
step cuts it off.
"""
# ruff: noqa: F821, RET504 (annotations are tensor shapes, and a graph returns a name)

from typing import Any

import numpy as np
import onnx
from onnxscript import FLOAT, INT64, script
from onnxscript import opset18 as op

__all__ = ["with_nms", "without_nms"]

GREEDY_BETA = 0.6
NO_LIMIT = 2**31 - 1
PREFIX = "nms_"


def with_nms(
    model: onnx.ModelProto,
    threshold: float,
    nms: float,
    kind: str,
    beta: float,
    max_det: int | None,
) -> onnx.ModelProto:
    """Return a model with `detections` (K, 7) in place of `boxes` (B, N, 4), `scores` (B, N, C).

    A row is: index of the image in the batch, left, top, right, bottom, score, class index.

    Args:
        model: yields boxes as xyxy and their scores.
        threshold: only higher scores count.
        nms: IoU above which the weaker of two boxes is dropped.
        kind: "default" is the operator NonMaxSuppression; "greedynms" and "diounms" are a loop.
        beta: exponent of "diounms".
        max_det: most detections of an image and class; None keeps all.
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
    del whole.opset_import[:]  # it would be there twice, which ONNX Runtime's quantizer refuses
    whole.opset_import.extend(model.opset_import)
    for name, value in settings.items():
        whole.graph.initializer.append(onnx.numpy_helper.from_array(value, PREFIX + name))
    inputs = [each for each in whole.graph.input if not each.name.startswith(PREFIX)]
    del whole.graph.input[:]
    whole.graph.input.extend(inputs)
    return whole


def without_nms(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model as it was before `with_nms`; one without NMS as it is."""
    before = [node for node in model.graph.node if not node.name.startswith(PREFIX)]
    if len(before) == len(model.graph.node):
        return model
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    del plain.graph.node[:], plain.graph.output[:]
    plain.graph.node.extend(before)
    plain.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in ("boxes", "scores")
    )
    return plain


def _type_loops(graph: onnx.GraphProto) -> None:
    """Set the types of a loop body's inputs and outputs, which OpenCV needs."""
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
    kept = op.NonMaxSuppression(all_boxes, by_class, limit, nms, threshold)
    kept = op.Concat(kept, [[0, 0, 0]], axis=0)
    score = op.GatherND(by_class, kept)
    image_and_box = op.Gather(kept, op.Constant(value_ints=[0, 2]), axis=1)
    boxes = op.GatherND(all_boxes, image_and_box)
    # OpenCV does not cast this operator's output, so indices are gathered from lists of floats
    images = op.CumSum(op.Expand(one, op.Shape(all_scores, start=0, end=1)), axis, exclusive=1)
    classes = op.CumSum(op.Expand(one, op.Shape(all_scores, start=2, end=3)), axis, exclusive=1)
    image = op.Gather(images, op.Gather(kept, op.Constant(value_ints=[0]), axis=1))
    class_id = op.Gather(classes, op.Gather(kept, op.Constant(value_ints=[1]), axis=1))
    rows = op.Concat(image, boxes, op.Unsqueeze(score, [1]), class_id, axis=1)
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
    """IoU less (centre distance / enclosing diagonal) ** beta, as `heads.nms` computes it.

    All overlapping pairs of one image and class are computed at once; then every box that
    overlaps a better box still kept is dropped, until nothing changes.
    """
    # the candidates, the highest score first: (M, 3) image, box, class
    candidates = op.Transpose(op.NonZero(op.Greater(all_scores, threshold)), perm=[1, 0])
    candidates = op.Concat(candidates, [[0, 0, 0]], axis=0)
    score = op.Slice(op.GatherND(all_scores, candidates), [0], [-1], [0])
    score = op.Concat(score, op.Constant(value_floats=[-1.0]), axis=0)
    score, order = op.TopK(score, op.Shape(score), axis=0)
    candidates = op.Gather(candidates, order, axis=0)
    boxes = op.GatherND(all_boxes, op.Gather(candidates, op.Constant(value_ints=[0, 1]), axis=1))
    group = op.Gather(candidates, op.Constant(value_ints=[0, 2]), axis=1)

    # pairs (M, M): the row is the box of higher score
    low = op.Slice(boxes, [0], [2], [1])
    high = op.Slice(boxes, [2], [4], [1])
    low_a, low_b = op.Unsqueeze(low, [1]), op.Unsqueeze(low, [0])
    high_a, high_b = op.Unsqueeze(high, [1]), op.Unsqueeze(high, [0])
    zero = op.Constant(value_float=0.0)
    sides = op.Max(op.Sub(op.Min(high_a, high_b), op.Max(low_a, low_b)), zero)
    intersection = op.ReduceProd(sides, [2], keepdims=0)
    area = op.ReduceProd(op.Sub(high, low), [1], keepdims=0)
    union = op.Sub(op.Add(op.Unsqueeze(area, [1]), op.Unsqueeze(area, [0])), intersection)
    enclosing = op.Sub(op.Max(high_a, high_b), op.Min(low_a, low_b))
    diagonal = op.ReduceSum(op.Mul(enclosing, enclosing), [2], keepdims=0)
    centre = op.Mul(op.Add(low, high), op.Constant(value_float=0.5))
    offset = op.Sub(op.Unsqueeze(centre, [1]), op.Unsqueeze(centre, [0]))
    distance = op.ReduceSum(op.Mul(offset, offset), [2], keepdims=0)
    iou = op.Where(op.Equal(union, zero), zero, op.Div(intersection, union))
    penalty = op.Where(op.Equal(diagonal, zero), zero, op.Div(distance, diagonal))
    overlaps = op.Greater(op.Sub(iou, op.Pow(penalty, beta)), nms)

    # rivals: pairs of one image and class, the row better than the column
    same = op.ReduceMin(
        op.Cast(op.Equal(op.Unsqueeze(group, [1]), op.Unsqueeze(group, [0])), to=1),
        [2],
        keepdims=0,
    )
    rivals = op.Trilu(same, op.Constant(value_int=1), upper=1)
    drops = op.Mul(rivals, op.Cast(overlaps, to=1))

    # drop boxes until nothing changes
    alive = op.Cast(op.Equal(score, score), to=1)
    changed = op.Greater(op.ReduceSum(alive, keepdims=0), zero)
    while changed:
        dropped = op.MatMul(op.Unsqueeze(alive, [0]), drops)
        after = op.Cast(op.Equal(op.Squeeze(dropped, [0]), zero), to=1)
        difference = op.ReduceMax(op.Abs(op.Sub(after, alive)), keepdims=0)
        changed = op.Greater(difference, zero)
        alive = op.Identity(after)

    # at most `limit` of an image and class
    ahead = op.Squeeze(op.MatMul(op.Unsqueeze(alive, [0]), rivals), [0])
    few = op.Less(ahead, op.Cast(limit, to=1))
    good = op.Or(op.And(few, op.Greater(alive, zero)), op.Less(score, zero))
    kept = op.Squeeze(op.NonZero(good), [0])
    row = op.Gather(candidates, kept, axis=0)
    numbers = op.Cast(row, to=1)
    image, _, class_id = op.Split(numbers, num_outputs=3, axis=1)
    boxes, score = op.Gather(boxes, kept, axis=0), op.Gather(score, kept)
    rows = op.Concat(image, boxes, op.Unsqueeze(score, [1]), class_id, axis=1)
    detections = op.Slice(rows, [0], [-1], [0])
    return detections
