"""Programs that this package starts do not import from the current folder."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

from darknet_torch.errors import DownloadError
from darknet_torch.exporters.other_python import run as convert
from darknet_torch.network import Network
from darknet_torch.safety.subprocesses import run_python, without_current_folder
from darknet_torch.zoo.package_index import PackageFile, extract

SAFE_PATH = "PYTHONSAFEPATH"


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder of modules that leave a file when they are imported."""
    ran, folder = tmp_path / "ran", tmp_path / "here"
    folder.mkdir()
    for name in ("json", "ctypes", "pathlib", "re", "pip"):
        (folder / f"{name}.py").write_text(f"open({str(ran)!r}, 'a').write({name!r})\n")
    monkeypatch.chdir(folder)
    monkeypatch.delenv(SAFE_PATH, raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep)  # an empty entry is the current folder, too
    return ran


def nothing(number: int) -> None:
    import ctypes
    import re

    assert ctypes.sizeof(ctypes.c_int8) == number and re.compile("")


def test_converters(trap: Path) -> None:
    convert(sys.executable, nothing, number=1)
    assert not trap.exists()


def test_older_versions_of_python_know_no_variable(
    trap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script itself takes the current folder off the path."""
    monkeypatch.setattr("darknet_torch.safety.subprocesses.SAFE_PATH", "UNKNOWN")
    assert run_python(sys.executable, "import ctypes, json, re").returncode == 0
    assert not trap.exists()


def test_pip(trap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(DownloadError, match=r"pip: .*No matching"):
        extract(PackageFile("tinyzoo==1.0", "x"), tmp_path / "part", (1,))
    assert not trap.exists()


def test_what_other_packages_start(trap: Path) -> None:
    command = [sys.executable, "-c", "import ctypes, json"]
    with without_current_folder():
        with without_current_folder():
            pass
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": ""})
    assert not trap.exists()
    assert SAFE_PATH not in os.environ
    subprocess.run(command, capture_output=True)
    assert trap.read_text(), "the trap works"


@pytest.mark.parametrize("before", [None, "", "1"])
def test_the_variable_is_as_it_was(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if before is None:
        monkeypatch.delenv(SAFE_PATH, raising=False)
    else:
        monkeypatch.setenv(SAFE_PATH, before)
    with pytest.raises(KeyError), without_current_folder():
        assert os.environ[SAFE_PATH] == "1"
        raise KeyError
    assert os.environ.get(SAFE_PATH) == before


def test_torch_compiles_without_the_current_folder(
    small_network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its compiler starts a Python to ask which instructions the processor has."""
    from darknet_torch.speed.inductor import compiled_for

    seen = []

    def compiled(*_: object) -> object:
        seen.append(os.environ.get(SAFE_PATH))
        return tuple

    monkeypatch.delenv(SAFE_PATH, raising=False)
    monkeypatch.setattr(import_module("torch._inductor"), "compile", compiled)
    compiled_for(small_network, torch.zeros(1, 3, 64, 64))
    assert seen == ["1"]
    assert SAFE_PATH not in os.environ
