"""Figures of tools/bench.py as lines of JSON, and the tables of docs/performance.md made of them.

    python tools/bench.py speed threads --json docs/figures.jsonl
    python tools/bench_figures.py            write the tables of docs/performance.md
    python tools/bench_figures.py --check    exit status 1 where the page has other tables

A line has the name of the bench, the date, the command, the processor, what was measured, the unit,
and the figures by name. Of several lines about the same the last one counts. In the page, a table
for each processor stands between `<!-- figures: BENCH -->` and `<!-- end of figures -->`.
"""

import argparse
import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["keep", "page_with_tables", "table"]

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE, FIGURES = DOCS / "performance.md", DOCS / "figures.jsonl"
BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)
PATHS = {"--before": "OLDER_CHECKOUT", "--opencv4": "PYTHON", "--libreyolo": "PYTHON"}
Line = dict[str, Any]


def keep(
    options: argparse.Namespace, bench: str, what: str, unit: str, figures: Mapping[str, Any]
) -> None:
    """Append a line to the file of --json, if there is one."""
    if options.json is None:
        return
    line = {
        "bench": bench,
        "date": datetime.now(UTC).date().isoformat(),
        "command": _command(sys.argv[1:]),
        "processor": _processor(),
        "what": what,
        "unit": unit,
    }
    with options.json.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**line, "figures": dict(figures)}) + "\n")


def _command(arguments: Sequence[str]) -> str:
    """Return the command line that was given, with names in place of this machine's paths."""
    words = ["tools/bench.py"]
    for word, before in zip(arguments, ["", *arguments], strict=False):
        if "--json" not in (word, before):
            words.append(PATHS.get(before, word))
    return shlex.join(words)


def _processor() -> str:
    """Return the name of the processor, whether it multiplies bfloat16, and the number of cores."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.is_file() else ""
    names = re.findall(r"model name\s*: (.*)", text) or [platform.processor() or "unknown"]
    more = " with AVX512-BF16" if "avx512_bf16" in text else ""  # names alone do not tell
    return f"{names[0].strip()}{more}, {os.cpu_count()} cores"


def read_lines(path: Path) -> list[Line]:
    """Return the lines of a file, of several about the same the last one."""
    found: dict[tuple[str, ...], Line] = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        found[tuple(line[each] for each in ("bench", "processor", "what"))] = line
    return list(found.values())


def table(lines: Iterable[Line], bench: str) -> str:
    """Return the lines of a bench as a table in Markdown for each processor and unit."""
    groups: dict[str, list[Line]] = {}
    for line in lines:
        if line["bench"] == bench:
            unit = f", {line['unit']}" if line["unit"] else ""
            groups.setdefault(f"{line['processor']}{unit}", []).append(line)
    if not groups:
        raise ValueError(f"no figures of {bench}")
    return "\n".join(
        f"{title} ({_dates(group)}):\n\n{_rows(group)}" for title, group in groups.items()
    )


def _dates(lines: list[Line]) -> str:
    """Return the day on which lines were measured, or the first and the last."""
    days = sorted({line["date"] for line in lines})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def _rows(lines: list[Line]) -> str:
    columns = list(dict.fromkeys(name for line in lines for name in line["figures"]))
    rows = [["", *columns], ["---"] * (len(columns) + 1)]
    for line in lines:
        rows.append([line["what"], *(_text(line["figures"].get(name)) for name in columns)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 100 else f"{value:.0f}"


def page_with_tables(page: str, lines: list[Line]) -> str:
    """Return a page with the tables of these lines in place of those that it has."""
    return BLOCK.sub(lambda found: f"{found[1]}{table(lines, found[2])}{found[3]}", page)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    wanted = page_with_tables(page, read_lines(FIGURES))
    if options.check:
        return int(page != wanted)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
