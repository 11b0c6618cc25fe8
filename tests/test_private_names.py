"""Names of torch that are not public: which are left, why, and what is done without them."""

import ast
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_network import CFG

import darknet_torch as dt
from darknet_torch.errors import DarknetWarning
from darknet_torch.speed import onednn, optimized

PACKAGE = Path(dt.__file__).parent
PICKLED = "names that a file of torch.save has; compared as texts, never imported"
LEFT = {
    "exporters/aot_inductor.py": {
        "torch._inductor": "aoti_compile_and_package is documented under this name; no other format"
        " needs it",
        "torch._inductor.exc": "its errors; as above",
        "torch._inductor.aoti_compile_and_package": "as above",
    },
    "images/bilinear.py": {
        "torch.ops.quantized": "embedding bags of bytes; without, F.embedding_bag, which is slower",
    },
    "inference/engines.py": {
        "torch._inductor": "aoti_load_package is documented under this name; for .aoti.pt2 only",
    },
    "network/pickle_check.py": {
        **dict.fromkeys(
            (
                "torch._utils._rebuild_tensor",
                "torch._utils._rebuild_tensor_v2",
                "torch._utils._rebuild_tensor_v3",
                "torch._utils._rebuild_parameter",
                "torch._utils._rebuild_parameter_with_state",
                "torch._utils._rebuild_sparse_tensor",
                "torch._utils._rebuild_nested_tensor",
                "torch._utils._rebuild_meta_tensor_no_storage",
                "torch._tensor._rebuild_from_type_v2",
                "torch.serialization._get_layout",
            ),
            PICKLED,
        )
    },
    "speed/card_graph.py": {
        "torch._inductor.": "lowering of concatenations; without, its own, which takes longer",
    },
    "speed/inductor.py": {
        "torch._inductor": "a program without the guards of torch.compile; without, not compiled",
        "torch._inductor.config": "its settings, for as long as it compiles; as above",
        "torch._inductor.": "whether there is a C++ compiler; without, compiling tells",
    },
    "speed/int8_conv.py": {
        "torch.ops.onednn": "convolutions in 8 bits; without, float32 and a warning",
        **dict.fromkeys(
            ("torch.ops.onednn.qconv_pointwise", "torch.ops.onednn.qconv_prepack"), "as above"
        ),
    },
    "speed/onednn.py": {
        "torch._inductor.": "lowering of packed convolutions; without, not compiled",
        "torch.ops.mkldnn": "packed convolutions; without, torch's own",
    },
    "training/recorded.py": {
        "torch._foreach_zero_": "documented under this name; one kernel for all gradients",
    },
    "training/running_statistics.py": {
        "torch._foreach_copy_": "one kernel for all statistics, as torch's own optimizers call it",
    },
}
"""File -> name -> reason and fallback. A name that ends in a point is the start of several."""

PRIVATE = re.compile(r"torch(?:\.\w+)*\.(?:_(?!_)\w+|ops\.(?:mkldnn|onednn|quantized))(?:\.\w*)*")


def private_names(path: Path) -> set[str]:
    """The names in attributes, imports and texts, but not in docstrings and comments."""
    names = set()
    tree = ast.parse(path.read_text())
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in docstrings:
                names |= set(PRIVATE.findall(node.value))
        elif isinstance(node, ast.ImportFrom):
            names |= set(PRIVATE.findall(node.module or ""))
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if PRIVATE.fullmatch(alias.name)}
        elif isinstance(node, ast.Attribute):
            names |= {text for text in [ast.unparse(node)] if PRIVATE.fullmatch(text)}
    return names


def test_every_private_name_is_listed_with_its_reason() -> None:
    left = {
        str(path.relative_to(PACKAGE)): names
        for path in sorted(PACKAGE.rglob("*.py"))
        if (names := private_names(path))
    }
    assert left == {file: set(names) for file, names in LEFT.items()}
    assert all(reason for names in LEFT.values() for reason in names.values())


def test_private_names_are_seen(tmp_path: Path) -> None:
    """Else the test above could not fail."""
    path = tmp_path / "some.py"
    path.write_text(
        '"""About torch._hidden."""\nimport torch._inductor.config\nfrom torch._C import x\n'
        'torch.jit._trace.f()\nimport_module("torch._dynamo")\ntorch.nn.Module()\n'
    )
    assert private_names(path) == {
        *("torch._inductor.config", "torch._C", "torch.jit._trace.f", "torch.jit._trace"),
        "torch._dynamo",
    }


def test_without_onednns_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    onednn._has_onednn.cache_clear()
    monkeypatch.setattr(onednn, "_onednn", lambda: SimpleNamespace())
    network, x = dt.build(CFG), torch.rand(1, 3, 64, 64)
    fast = dt.optimize(network, compile=False)
    monkeypatch.undo()
    onednn._has_onednn.cache_clear()
    assert torch.allclose(fast(x)[0], network(x)[0], atol=1e-5)
    assert not [each for each in fast.modules() if hasattr(each, "conv") and is_packed(each.conv)]


def is_packed(conv: Any) -> bool:
    return isinstance(conv, onednn.PackedConv)


@pytest.mark.parametrize("error", [AttributeError, ImportError, TypeError, RuntimeError])
def test_without_inductors_parts(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise error("has no part of that name")

    monkeypatch.setattr(optimized, "compiled_for", fail)
    monkeypatch.setattr(optimized, "can_compile", lambda _: True)
    monkeypatch.setattr(optimized, "has_tiny_layers", lambda _: False)
    network, x = dt.build(CFG), torch.rand(1, 3, 64, 64)
    fast = dt.optimize(network)
    with pytest.warns(DarknetWarning, match="not compiled: has no part of that name"):
        y = fast(x)
    assert torch.allclose(y[0], network(x)[0], atol=1e-5) and not fast.compiles
