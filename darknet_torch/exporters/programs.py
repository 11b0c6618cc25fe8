"""Labels and a configuration beside an ONNX file, for programs that run other people's files."""

from pathlib import Path
from typing import Literal, get_args

from darknet_torch.errors import UsageError
from darknet_torch.files import write_atomically
from darknet_torch.network import Contents, Network
from darknet_torch.network.origin import Layout
from darknet_torch.safety.text import printable

__all__ = ["Program", "for_program", "write_beside"]

Program = Literal["frigate", "zoneminder", "deepstream"]
LAYOUTS: dict[Program, Layout] = {
    "frigate": "ultralytics",
    "zoneminder": "ultralytics",
    "deepstream": "deepstream",
}
ENDINGS: dict[Program, str] = {
    "frigate": ".frigate.yaml",
    "zoneminder": ".zoneminder.yaml",
    "deepstream": ".deepstream.txt",
}


def for_program(
    program: Program,
    contents: Contents | None,
    layout: Layout | None,
    dynamic_size: bool | None,
) -> tuple[Contents, Layout, bool]:
    """Return contents, layout and dynamic_size that a program needs.

    Args:
        program: the program.
        contents: what was asked for; None is what the program needs.
        layout: the same.
        dynamic_size: the same.

    Raises:
        UsageError: there is no such program, or it needs something else.
    """
    if program not in get_args(Program):
        raise UsageError(f"program={program}: must be {', '.join(get_args(Program))}")
    needed = LAYOUTS[program]
    for name, given, value in (
        ("contents", contents, "boxes"),
        ("layout", layout, needed),
        ("dynamic_size", dynamic_size, False),
    ):
        if given not in (None, value):
            raise UsageError(f"{name}={given}: program={program} needs {value}")
    return "boxes", needed, False


def write_beside(network: Network, path: Path, program: Program, *, uint8: bool) -> list[Path]:
    """Write X.labels.txt and the program's configuration beside X.onnx.

    Args:
        network: what was exported.
        path: the ONNX file.
        program: the program.
        uint8: whether the file takes uint8 (B, H, W, C).

    Returns:
        The files.

    Raises:
        UsageError: the network has no class names, the program takes no such input, or a file
            cannot be written.
    """
    labels = path.with_suffix(".labels.txt")
    config = path.with_suffix(ENDINGS[program])
    names = labelled(network, program, uint8=uint8)
    texts = {"frigate": _frigate, "zoneminder": _zoneminder, "deepstream": _deepstream}
    write_atomically(labels, names)
    write_atomically(config, texts[program](path.name, labels.name, network, uint8=uint8))
    return [labels, config]


def labelled(network: Network, program: Program, *, uint8: bool) -> str:
    """Return the class names, one a line; UsageError where a program cannot take the network."""
    classes = network.plan.classes
    if len(network.names) != classes:
        raise UsageError(
            f"program={program}: needs the {classes} class names, and there are"
            f" {len(network.names)}: give them with --names"
        )
    if network.plan.input.c != 3:
        raise UsageError(f"program={program}: needs a network of 3 channels")
    if uint8 and program != "frigate":
        raise UsageError(f"program={program}: takes no file whose input is uint8")
    return "".join(f"{printable(name)}\n" for name in network.names)


def _frigate(model: str, labels: str, network: Network, *, uint8: bool) -> str:
    shape = network.plan.input
    tensor, dtype = ("nhwc", "int") if uint8 else ("nchw", "float")
    return f"""# For Frigate's config.yml; copy {model} and {labels} into its folder.
detectors:
  onnx:
    type: onnx
model:
  model_type: yolo-generic
  path: /config/{model}
  labelmap_path: /config/{labels}
  width: {shape.w}
  height: {shape.h}
  input_tensor: {tensor}
  input_dtype: {dtype}
  input_pixel_format: rgb
"""


def _zoneminder(model: str, labels: str, network: Network, *, uint8: bool) -> str:
    shape = network.plan.input
    return f"""# For ml_sequence of ZoneMinder's objectconfig.yml; copy {model} and {labels} there.
object:
  sequence:
    - name: {Path(model).stem}
      enabled: 'yes'
      object_framework: opencv
      object_processor: cpu
      object_weights: '/var/lib/zmeventnotification/models/{model}'
      object_labels: '/var/lib/zmeventnotification/models/{labels}'
      model_width: {shape.w}
      model_height: {shape.h}
      object_min_confidence: {network.plan.context.dialect.threshold}
"""


def _deepstream(model: str, labels: str, network: Network, *, uint8: bool) -> str:
    shape, keeps = network.plan.input, int(network.plan.letterbox)
    return f"""# For nvinfer of DeepStream, with the library of DeepStream-Yolo.
[property]
gpu-id=0
net-scale-factor={1 / 255}
model-color-format=0
onnx-file={model}
labelfile-path={labels}
batch-size=1
network-mode=0
network-type=0
process-mode=1
gie-unique-id=1
interval=0
infer-dims=3;{shape.h};{shape.w}
num-detected-classes={network.plan.classes}
maintain-aspect-ratio={keeps}
symmetric-padding={keeps}
cluster-mode=2
parse-bbox-func-name=NvDsInferParseYolo
custom-lib-path=nvdsinfer_custom_impl_Yolo/libnvdsinfer_custom_impl_Yolo.so
engine-create-func-name=NvDsInferYoloCudaEngineGet

[class-attrs-all]
nms-iou-threshold=0.45
pre-cluster-threshold={network.plan.context.dialect.threshold}
topk=300
"""
