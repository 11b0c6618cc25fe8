"""The figures of tools/bench.py, and the tables of the page that are made of them."""

import argparse
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import bench_figures
import pytest
from bench_figures import keep, page_with_tables, read_lines, table


def test_the_page_has_the_tables_of_its_figures() -> None:
    page = bench_figures.PAGE.read_text(encoding="utf-8")
    lines = read_lines(bench_figures.FIGURES)
    assert page == page_with_tables(page, lines), "run tools/bench_figures.py"
    assert {line["bench"] for line in lines} == set(re.findall(r"<!-- figures: (\w+) -->", page))
    assert all(line["date"] and line["command"].startswith("tools/bench.py ") for line in lines)


def test_there_is_no_figure_beside_the_tables() -> None:
    """A figure that no command wrote would grow old unseen."""
    page = bench_figures.PAGE.read_text(encoding="utf-8")
    text = bench_figures.BLOCK.sub("", re.sub(r"```.*?```", "", page, flags=re.DOTALL))
    measured = r"\d[\d.,]* ?(?:%|(?:ms|us|s|microseconds|seconds|MB|GB|times|images/s|GFLOP/s)\b)"
    assert not re.findall(measured, text)
    assert not re.findall(r"\b0\.\d+|(?<!Python )\b\d+\.\d{2,}\b", text)


def test_the_last_figures_of_a_subject_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = argparse.Namespace(json=tmp_path / "figures.jsonl")
    monkeypatch.setattr(bench_figures, "_processor", lambda: "C")
    today = datetime.now(UTC).date().isoformat()
    keep(options, "speed", "net 416", "ms", {"ours": 1.0, "theirs": 2.0})
    keep(options, "speed", "tiny 320", "ms", {"ours": 0.1234})
    keep(options, "speed", "net 416", "ms", {"ours": 123.4, "other": 0.5})
    keep(options, "load", "net", "", {"size": 3})
    lines = read_lines(options.json)
    assert table(lines, "speed") == (
        f"C, ms ({today}):\n\n"
        "|  | ours | other |\n| --- | --- | --- |\n"
        "| net 416 | 123 | 0.5 |\n| tiny 320 | 0.123 |  |\n"
    )
    assert table(lines, "load") == f"C ({today}):\n\n|  | size |\n| --- | --- |\n| net | 3 |\n"
    with pytest.raises(ValueError, match="no figures of memory"):
        table(lines, "memory")


def test_tables_stand_between_comments() -> None:
    line = {"bench": "load", "processor": "C", "what": "net", "unit": "ms", "figures": {"a": 1.0}}
    line |= {"date": "2026-11-25"}
    page = "before\n<!-- figures: load -->\nold\n<!-- end of figures -->\nafter\n"
    made = page_with_tables(page, [line])
    assert made == page.replace("old\n", table([line], "load"))
    assert page_with_tables(made, [line]) == made


def test_a_command_names_no_path_of_a_machine() -> None:
    words = "speed --before ../old --json /tmp/x.jsonl --rounds 5 --opencv4 /opt/bin/python".split()
    wanted = "tools/bench.py speed --before OLDER_CHECKOUT --rounds 5 --opencv4 PYTHON"
    assert bench_figures._command(words) == wanted
    assert not [each for each in read_lines(bench_figures.FIGURES) if " /" in each["command"]]


def test_without_a_file_nothing_is_kept(tmp_path: Path) -> None:
    keep(argparse.Namespace(json=None), "load", "net", "ms", {"a": 1})
    assert not list(tmp_path.iterdir())
    options = argparse.Namespace(json=tmp_path / "x")
    keep(options, "load", "net", "ms", {"a": 1})
    (text,) = options.json.read_text().splitlines()
    assert json.loads(text)["processor"] == bench_figures._processor()
