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
    message = 'no_such_package is not installed: pip install "darknet_torch[some]"'
    assert str(caught.value) == message
