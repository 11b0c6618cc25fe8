"""Run converters in another process, whose Python may be another one with packages of its own."""

import json
import os
import re
import sys
from collections.abc import Callable
from importlib.util import find_spec
from inspect import getsource
from typing import Any

from darknet_torch.errors import UsageError
from darknet_torch.extras import not_installed
from darknet_torch.safety.subprocesses import run_python

__all__ = ["PYTHON", "run", "suitable_python"]

PYTHON = "DARKNET_TORCH_CONVERTER_PYTHON"
"""Environment variable: path of the Python that has the converters, if it is not this one."""

ERROR = re.compile(r"[\w.]+(Error|Exception): ")


def suitable_python(package: str, extra: str, python: str | None = None) -> str:
    """Return the path of the interpreter that converts.

    Args:
        package: what the converter imports.
        extra: the extra of this package that installs it.
        python: an interpreter; None is that of the environment variable, or this one.

    Raises:
        UsageError: no interpreter is named, and this one lacks the package.
    """
    named = python or os.environ.get(PYTHON)
    if named is None and find_spec(package) is None:
        raise UsageError(
            f"{not_installed(package, extra)}, or name the Python"
            f" of an environment that has it in {PYTHON}"
        )
    return named or sys.executable


def run(python: str, function: Callable[..., None], **arguments: Any) -> None:
    """Call a function in another interpreter, which need not have darknet_torch.

    Args:
        python: path of the interpreter.
        function: imports all that it uses inside itself, and writes its results to files.
        **arguments: its arguments, of types that JSON has.

    Raises:
        UsageError: with the last error that the process printed, or its last line.
    """
    script = (
        f"import json, sys\n{getsource(function)}\n{function.__name__}(**json.loads(sys.argv[1]))"
    )
    try:
        ended = run_python(python, script, json.dumps(arguments))
    except OSError as error:
        raise UsageError(f"{python}: cannot be run: {error.strerror or error}") from error
    if ended.returncode:
        lines = [line.strip() for line in ended.stderr.splitlines() if line.strip()]
        lines = [line for line in lines if ERROR.match(line)] or lines  # torch adds hints
        reason = lines[-1] if lines else f"ended with status {ended.returncode}"
        raise UsageError(f"{function.__module__.rpartition('.')[2]}: {reason}")
