"""Packages of extras: imported, or an error with the command that installs them."""

import sys

import pytest

from darknet_torch.errors import UsageError
from darknet_torch.extras import require


def test_an_installed_module() -> None:
    assert require("json.decoder", "any") is sys.modules["json.decoder"]


@pytest.mark.parametrize("module", ["no_such_package", "no_such_package.part"])
def test_a_missing_package(module: str) -> None:
    with pytest.raises(UsageError) as caught:
        require(module, "some")
    message = "no_such_package is not installed: pip install no_such_package"
    assert str(caught.value) == message


def test_the_command_installs_all_that_the_extra_needs(monkeypatch) -> None:
    """By the packages' own names, wherever this package came from."""
    lines = ["torch>=2", 'onnx >= 1.19 ; extra == "onnx"', "shtab>=1; extra == 'completion'"]
    lines += ["onnxruntime>=1.23; extra == 'onnx'"]
    monkeypatch.setattr("darknet_torch.extras.metadata.requires", lambda name: lines)
    with pytest.raises(UsageError) as caught:
        require("no_such_package", "onnx")
    message = 'no_such_package is not installed: pip install "onnx>=1.19" "onnxruntime>=1.23"'
    assert str(caught.value) == message


def test_a_package_that_cannot_be_loaded(monkeypatch) -> None:
    """As one that was built for another torch: the reason is that of the library."""

    def load(module: str) -> None:
        try:
            raise OSError("libother.so: cannot open\nshared object file")
        except OSError as error:
            raise OSError(f"Could not load {module}") from error

    monkeypatch.setattr("darknet_torch.extras.import_module", load)
    with pytest.raises(UsageError) as caught:
        require("some.part", "some")
    message = "some is installed, but cannot be loaded: libother.so: cannot open shared object file"
    assert str(caught.value) == message
