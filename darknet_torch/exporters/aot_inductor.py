"""AOTInductor: a compiled package, for C++ and for starts without compiling."""

import io
import warnings
from pathlib import Path
from typing import Literal

import torch
import torch._inductor
from torch._inductor.exc import CppCompileError, InductorError, InvalidCxxCompiler
from torch.export.passes import move_to_device_pass

from darknet_torch.errors import UsageError
from darknet_torch.exporters.tracing import prepared, program, varying
from darknet_torch.files import write_atomically
from darknet_torch.network import Network
from darknet_torch.network.float32 import float32_products
from darknet_torch.network.origin import Origin
from darknet_torch.safety.subprocesses import without_current_folder

__all__ = ["write"]

NO_COMPILER = "no C++ compiler is found: install g++ or clang++, or name one in the variable CXX"


def write(
    network: Network,
    path: Path,
    *,
    contents: Literal["raw", "boxes"] = "raw",
    dtype: Literal["float32", "float16"] = "float32",
    dynamic_batch: bool = True,
    dynamic_size: bool | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
) -> None:
    """Write a package for `torch._inductor.aoti_load_package`.

    It runs on this kind of processor or graphics card, with this version of torch. Its
    `get_metadata()` holds the record of `network/origin.py`.

    Args:
        network: a Network with values.
        path: the .aoti.pt2 file to write.
        contents: "raw" maps before the heads (`raw0`, `raw1` ...; the last layer's `output` where
            there is no head), or "boxes" (B, N, 4), xyxy in fractions of the input, with `scores`
            (B, N, classes).
        dtype: precision of weights and computation; input and outputs stay float32.
        dynamic_batch: whether the batch may vary.
        dynamic_size: whether height and width may vary, in multiples of the stride; None where no
            layer fixes them.
        device: what the package runs on; its inputs must be there.

    Raises:
        UsageError: the network cannot be exported so, or a compiler or graphics card
            is missing.
    """
    if device not in ("cpu", "cuda"):
        raise UsageError(f"device={device}: must be cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device=cuda: torch finds no graphics card here")
    exported = prepared(network, contents, dtype)
    traced = program(exported, dynamic_batch=dynamic_batch, dynamic_size=dynamic_size)
    origin = Origin.of(network, contents=contents, dtype=dtype, **varying(traced))
    with float32_products(torch.device(device)):
        content = _compiled(move_to_device_pass(traced, device), origin)
    write_atomically(path, content)


def _compiled(traced: torch.export.ExportedProgram, origin: Origin) -> bytes:
    """Return the compiled package; its build files are in the folder of torch's cache.

    On a full disk, torch's own writer ends the process.
    """
    content = io.BytesIO()
    with warnings.catch_warnings(), without_current_folder():
        warnings.simplefilter("ignore")
        try:
            torch._inductor.aoti_compile_and_package(
                traced,
                package_path=content,
                inductor_configs={"aot_inductor.metadata": origin.to_text()},
            )
        except InvalidCxxCompiler as error:
            raise UsageError(NO_COMPILER) from error
        except InductorError as error:
            raise UsageError(_reason(error)) from error
    return content.getvalue()


def _reason(error: InductorError) -> str:
    inner = error.inner_exception
    if isinstance(inner, InvalidCxxCompiler):
        return NO_COMPILER
    lines = [line.strip() for line in str(inner).splitlines() if line.strip()]
    is_compilers = isinstance(inner, CppCompileError)
    errors = [line for line in lines if is_compilers and "error:" in line]
    return f"torch could not compile it: {(errors or lines or [type(inner).__name__])[0]}"
