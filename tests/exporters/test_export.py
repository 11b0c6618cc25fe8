"""Other formats: PyTorch's programs run without this package; errors say what is missing."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keys
import pytest
import torch
from keys import relative_error
from torch import Tensor

import darknet_torch as dt
from darknet_torch.errors import DarknetError, UsageError
from darknet_torch.exporters.formats import FORMATS, format_of
from darknet_torch.exporters.other_python import PYTHON, run
from darknet_torch.exporters.tracing import prepared
from darknet_torch.inference import metadata
from darknet_torch.inference.engines import installed
from darknet_torch.network import Network

PROGRAMS = {
    "net.pt2": "torch.export.load({!r}).module()",
    "net.torchscript": "torch.jit.load({!r})",
    "net.aoti.pt2": "torch._inductor.aoti_load_package({!r})",
}
"""File -> how PyTorch alone loads it."""


@pytest.fixture
def network(tmp_path: Path) -> Network:
    key = keys.mini("yolo.alexeyab")
    key.write_weights(tmp_path / "w")
    network = key.load(tmp_path / "w")
    network.names = ("ant", "bee")
    return network


def images(network: Network, batch: int, more: int = 0) -> Tensor:
    shape, (rows, columns) = network.plan.input, network.plan.stride
    size = (shape.c, shape.h + more * rows, shape.w + more * columns)
    return torch.rand(batch, *size, generator=torch.Generator().manual_seed(batch))


def expected_outputs(network: Network, contents: str, x: Tensor) -> tuple[Tensor, ...]:
    with torch.no_grad():
        outputs = prepared(network, contents)(x)
    return outputs if isinstance(outputs, tuple) else (outputs,)


def worst(actual: Any, expected: Any) -> float:
    pairs = zip(actual, expected, strict=True)
    return max(relative_error(a.numpy(), b.numpy()) for a, b in pairs)


def write(network: Network, path: Path, **options: Any) -> None:
    """Export; a machine without a C++ compiler skips what needs one."""
    try:
        dt.export(network, path, **options)
    except UsageError as error:
        if "compiler" not in str(error):
            raise
        pytest.skip(str(error))


@pytest.mark.parametrize("contents", ["raw", "boxes"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_run_without_this_package(
    name: str, contents: str, network: Network, tmp_path: Path
) -> None:
    path = tmp_path / name
    write(network, path, contents=contents)
    inputs = [images(network, 1), images(network, 3), images(network, 2, more=1)]
    torch.save(inputs, tmp_path / "inputs.pt")
    script = (
        "import sys, torch, torch._inductor\n"
        "sys.modules['darknet_torch'] = None\n"
        f"run = {PROGRAMS[name].format(str(path))}\n"
        f"inputs = torch.load({str(tmp_path / 'inputs.pt')!r})\n"
        "with torch.no_grad(): outputs = [tuple(run(x)) for x in inputs]\n"
        f"torch.save(outputs, {str(tmp_path / 'outputs.pt')!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for x, outputs in zip(inputs, torch.load(tmp_path / "outputs.pt"), strict=True):
        assert worst(outputs, expected_outputs(network, contents, x)) < 5e-6


@pytest.mark.parametrize("name", [*PROGRAMS, "net.onnx", "net.xml"])
def test_a_file_is_loaded_like_a_network(name: str, network: Network, tmp_path: Path) -> None:
    if name == "net.xml" and not installed("openvino"):
        pytest.skip("openvino is not installed")
    write(network, tmp_path / name)
    loaded = dt.load(tmp_path / name, trusted=True)
    assert loaded.names == ("ant", "bee")
    assert [node.shape for node in loaded.plan] == [node.shape for node in network.plan]
    with torch.no_grad():
        x = images(network, 2)
        assert worst(loaded(x), network(x)) < 5e-6
    image = torch.randint(0, 256, (3, 40, 50), dtype=torch.uint8)
    mine, theirs = (dt.detect(each, image, threshold=0.1) for each in (network, loaded))
    assert len(mine) > 0
    assert torch.allclose(mine.xyxy, theirs.xyxy, atol=1e-3)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["net.pt2", "net.torchscript", "net.xml", "net.onnx"])
def test_float16(name: str, network: Network, tmp_path: Path) -> None:
    if name == "net.xml" and not installed("openvino"):
        pytest.skip("openvino is not installed")
    half = tmp_path / name
    dt.export(network, half, dtype="float16")
    run = dt.load(half, trusted=True)
    with torch.no_grad():
        x = images(network, 1)
        assert 0 < worst(run(x), network(x)) < 1e-2


def test_openvino_keeps_boxes_and_metadata(network: Network, tmp_path: Path) -> None:
    if not installed("openvino"):
        pytest.skip("openvino is not installed")
    dt.export(network, tmp_path / "net.xml", contents="boxes")
    assert (tmp_path / "net.bin").is_file()
    assert sorted(path.name for path in tmp_path.glob("net.*")) == ["net.bin", "net.xml"]
    origin = metadata.read_origin(tmp_path / "net.xml")
    assert (origin.contents, origin.names, origin.letterbox) == ("boxes", ("ant", "bee"), False)
    run: Any = dt.load(tmp_path / "net.xml")
    x = images(network, 3)
    assert worst(run(x), expected_outputs(network, "boxes", x)) < 1e-4


def test_a_compiled_package_without_a_compiler(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor import cpp_builder, exc

    def missing(*_: Any) -> str:
        raise exc.InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", missing)
    with pytest.raises(UsageError, match=r"no C\+\+ compiler is found"):
        dt.export(network, tmp_path / "net.aoti.pt2")
    assert not list(tmp_path.glob("*.pt2"))


# ---- formats whose converters are not Python packages that everyone can have

ELSEWHERE = {
    "net.tflite": "litert_torch",
    "net.mlpackage": "coremltools",
    "net.param": "pnnx",
    "net.engine": "tensorrt",
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_converter_that_is_not_installed(
    name: str, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PYTHON, raising=False)
    monkeypatch.setattr("darknet_torch.exporters.other_python.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=f"^{ELSEWHERE[name]} is not installed: pip install") as e:
        dt.export(network, tmp_path / name)
    assert "\n" not in str(e.value)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_converter_that_fails(name: str, network: Network, tmp_path: Path) -> None:
    """The environment named has not the package: its last line is the error."""
    folder, bare = tmp_path / "out", tmp_path / "python"
    folder.mkdir()
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')  # without packages
    bare.chmod(0o755)
    with pytest.raises(UsageError, match=f"No module named '{ELSEWHERE[name]}'|No module"):
        dt.export(network, folder / name, python=str(bare))
    assert not list(folder.iterdir())


def test_the_error_of_a_converter_is_shown_without_the_hints_after_it() -> None:
    with pytest.raises(UsageError, match=r"RuntimeError: no such operator$"):
        run(sys.executable, fails)


def fails() -> None:
    import sys

    sys.stderr.write("Traceback\nRuntimeError: no such operator\nUse a debugger to see more\n")
    sys.exit(1)


@pytest.mark.skipif(PYTHON not in os.environ, reason=f"{PYTHON} names no Python with litert_torch")
@pytest.mark.parametrize("contents", ["raw", "boxes"])
def test_tflite(contents: str, network: Network, tmp_path: Path) -> None:
    """LiteRT runs what it made and compares; here it does so again, from the file alone."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    path = tmp_path / "net.tflite"
    dt.export(network, path, contents=contents)
    assert [each.name for each in tmp_path.iterdir() if each.suffix == ".tflite"] == ["net.tflite"]
    (names,) = interpreter.Interpreter(str(path)).get_signature_list().values()
    outputs = ["raw0", "raw1", "raw2"] if contents == "raw" else ["boxes", "scores"]
    assert names == {"inputs": ["images"], "outputs": outputs}
    assert dt.verify(network, path).good
    converted: Any = dt.load(path)
    assert (converted.engine, converted.names) == ("litert", network.names)
    assert len(dt.detect(converted, torch.zeros(3, 40, 50), threshold=0.01)) > 0


def test_an_interpreter_that_is_none(network: Network, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere/python: cannot be run"):
        dt.export(network, tmp_path / "net.tflite", python="/nowhere/python")


def test_converted_files_are_not_converted_again(network: Network, tmp_path: Path) -> None:
    dt.export(network, tmp_path / "net.torchscript")
    with pytest.raises(UsageError, match=r"a Network is needed, .* not one of type Converted"):
        dt.export(dt.load(tmp_path / "net.torchscript", trusted=True), tmp_path / "net.pt2")


@pytest.mark.parametrize(
    "ending", [each for every in FORMATS.values() for each in every.endings[:1]]
)
def test_a_folder_that_is_not_there(ending: str, network: Network, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written: there is no folder"):
        dt.export(network, tmp_path / "nowhere" / f"net{ending}")


@pytest.mark.parametrize("ending", [".onnx", ".ts", ".weights"])
def test_a_name_that_cannot_be(ending: str, network: Network, tmp_path: Path) -> None:
    with pytest.raises(DarknetError, match=r"cannot be written: .*too long"):
        dt.export(network, tmp_path / f"{'x' * 300}{ending}")


# ---- choosing


def test_every_ending_names_its_format() -> None:
    for name, each in FORMATS.items():
        assert all(format_of(f"x{ending}") == name for ending in each.endings)
    assert [name for name, each in FORMATS.items() if not each.endings] == ["triton"]  # a folder
    with pytest.raises(UsageError, match=r"x.caffemodel: the ending must be one of .onnx"):
        format_of("x.caffemodel")


def test_metadata_of_a_program(network: Network, tmp_path: Path) -> None:
    dt.export(network, tmp_path / "net.pt2")
    files = dict.fromkeys(("cfg", "names", "anchors", "stride", "input", "classes"), "")
    torch.export.load(tmp_path / "net.pt2", extra_files=files)
    assert files["names"] == "ant\nbee"
    assert files["cfg"] == network.plan.text
    assert files["input"] == str(network.plan.input)
    assert json.loads(f"[{files['anchors'].replace(';', ',')}]")
    assert files["stride"] == " x ".join(str(side) for side in reversed(network.plan.stride))
