"""Other programs that this package starts: none of them imports modules of the current folder.

`python -c` and `python -m` look for modules in the current folder first. A `json.py` that lies
among somebody's photos would run there, with all rights of the user.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from darknet_torch.safety.process_setting import ProcessSetting

__all__ = ["run", "run_python", "start_module", "without_current_folder"]

SAFE_PATH = "PYTHONSAFEPATH"
"""Variable that keeps the current folder off the path of Python 3.11 and newer."""
PREAMBLE = 'import sys\nsys.path[:] = [each for each in sys.path if each not in ("", ".")]\n'
"""The same for older versions: `sys` is part of the interpreter, so that no file replaces it."""


def run_python(python: str, script: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a script in an interpreter, without the current folder on its path; see `run`.

    Args:
        python: path of the interpreter, of any version 3.
        script: the script's text.
        *arguments: for the script's sys.argv.

    Returns:
        The ended process, with its status and the text that it printed.

    Raises:
        OSError: the interpreter cannot be started.
    """
    return run([python, "-c", PREAMBLE + script, *arguments])


def run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    """Run a program without input; Python programs do not import from the current folder."""
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env=_environment(),
    )


def start_module(
    module: str, *arguments: str, pass_fds: Sequence[int] = ()
) -> "subprocess.Popen[bytes]":
    """Start a module of this package in a process of its own, with pipes to it and from it.

    Ctrl-C does not reach it; it should end when its standard input does.

    Args:
        module: full name of the module.
        *arguments: for its sys.argv.
        pass_fds: numbers of open files that it has, too; not on Windows.

    Raises:
        OSError: it cannot be started.
    """
    home = str(Path(__file__).resolve().parents[2])  # this package, wherever it was found
    environment = _environment() | {"OMP_NUM_THREADS": "1"}
    entries = (home, environment["PYTHONPATH"])
    environment["PYTHONPATH"] = os.pathsep.join(each for each in entries if each)
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        pass_fds=pass_fds,
        start_new_session=True,
    )


def _environment() -> dict[str, str]:
    """Return this process's environment; an empty entry of PYTHONPATH is the current folder."""
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    kept = os.pathsep.join(each for each in entries if each and Path(each) != Path())
    return os.environ | {SAFE_PATH: "1", "PYTHONPATH": kept}


def without_current_folder() -> AbstractContextManager[None]:
    """Keep the current folder off the path of what other packages start, until the block ends.

    torch's compiler asks another Python which instructions this processor has.
    """
    return _safe_path.replaced("1")


def _set_safe_path(value: str | None) -> None:
    if value is None:
        os.environ.pop(SAFE_PATH, None)
    else:
        os.environ[SAFE_PATH] = value


_safe_path = ProcessSetting(lambda: os.environ.get(SAFE_PATH), _set_safe_path)
