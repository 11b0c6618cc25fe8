"""The tools name what is there: what they measure stands in texts, which no type checker reads."""

import ast

import bench_fresh
import pytest
from bench_turns import in_turns, seconds_of

TEXTS = {name: text for name, text in vars(bench_fresh).items() if name.isupper()}


@pytest.mark.parametrize("name", TEXTS)
def test_measured_code_imports_what_is_there(name: str) -> None:
    tree = ast.parse(TEXTS[name])
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names: dict[str, object] = {}
    exec(compile(ast.Module(imports, []), name, "exec"), names)
    module = names.get("dt")
    used = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    called = {node.attr for node in used if ast.unparse(node.value) == "dt"}
    assert called <= set(dir(module))
    assert called or name == "IMPORT" or "load" in names


def test_turns() -> None:
    calls: list[str] = []
    work = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    medians = in_turns(work, rounds=3, warm=1)
    assert calls == ["a", "b"] * 4
    assert set(medians) == {"a", "b"}
    assert min(medians.values()) >= 0
    calls.clear()
    in_turns(work, rounds=1, warm=0, twice=True)
    assert calls == ["a", "a", "b", "b"]
    assert seconds_of(lambda: calls.append("c"), repeats=5) >= 0
    assert calls.count("c") == 5
