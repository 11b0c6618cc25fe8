"""Kernels are used where they work, and yield what is computed without them."""

from types import SimpleNamespace

import pytest
import torch

from darknet_torch.images import kernels


@pytest.mark.parametrize("kind", ["good", "wrong", "broken", "absent", "no card"])
def test_kernels_are_used_where_they_work(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace()

    def agree(given: object, device: torch.device) -> bool:
        if kind == "broken":
            raise RuntimeError("Failed to find C compiler")
        assert given is module and device.type == "cuda"
        return kind == "good"

    monkeypatch.setattr(kernels.util, "find_spec", lambda _: None if kind == "absent" else object())
    monkeypatch.setattr(kernels, "import_module", lambda _: module)
    device = torch.device("cpu" if kind == "no card" else "cuda")
    found = kernels.working_kernels("some.kernels", device, agree)
    assert found is (module if kind == "good" else None)
