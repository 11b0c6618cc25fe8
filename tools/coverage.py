#!/usr/bin/env python3
"""Write docs/coverage.md: every section and option of each fork, and the key that checks it.

Reads the registry of layer types and the results of `tools/check --all`; run that first.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

import keys  # noqa: E402 (a neighbour's module, found by the line above)

import darknet_torch.network.plan  # noqa: E402, F401 (registers the layer types)
from darknet_torch.layers.base import Layer  # noqa: E402
from darknet_torch.layers.registry import registered  # noqa: E402
from darknet_torch.network.net_section import Net  # noqa: E402
from darknet_torch.parsing import options, parser  # noqa: E402
from darknet_torch.parsing.dialect import ALEXEYAB, PJREDDIE, Dialect  # noqa: E402

RESULTS = ROOT / ".check" / "answer_keys.json"
PAGE = ROOT / "docs" / "coverage.md"
FORKS = (PJREDDIE, ALEXEYAB)


@dataclass
class Evidence:
    """The keys whose cfg has a section, or sets an option of it."""

    names: set[str] = field(default_factory=set)
    error: float = 0.0

    def add(self, name: str, error: float) -> None:
        self.names.add(name)
        self.error = max(self.error, error)

    def __str__(self) -> str:
        if not self.names:
            return "-"
        shortest = min(self.names, key=lambda name: ("/" in name, len(name), name))
        return f"{len(self.names)}, e.g. `{shortest}` ({self.error:.0e})"


def main() -> int:
    if not RESULTS.is_file():
        print("no results; run tools/check --all first", file=sys.stderr)
        return 2
    results = json.loads(RESULTS.read_text())
    evidence = collect(results)
    PAGE.write_text("\n".join(page(results, evidence)) + "\n")
    print(f"wrote {PAGE.relative_to(ROOT)}")
    return 0


def collect(results: dict[str, Any]) -> dict[tuple[str, str, str], Evidence]:
    """Return the evidence for (fork, section, option), with "" for the section itself."""
    found: dict[tuple[str, str, str], Evidence] = defaultdict(Evidence)
    for name, result in results.items():
        if result["state"] != "ok":
            continue
        key = keys.find(name)
        for section in parser.read(key.cfg):
            for option in ("", *{each.key for each in section.options}):
                found[key.fork, section.name, option].add(name, result["error"])
    return found


def page(results: dict[str, Any], evidence: dict[tuple[str, str, str], Evidence]) -> Iterator[str]:
    """Yield the lines of the page."""
    good = [result for result in results.values() if result["state"] == "ok"]
    official = [result for result in good if "/" in result["name"]]
    worst = max(good, key=lambda result: result["error"])
    yield "# Coverage\n"
    yield (
        "Written by `tools/coverage.py` from the registry of layer types and the results of"
        " `tools/check --all`; not by hand.\n"
    )
    yield (
        f"{len(good)} of {len(results)} answer keys at hand are matched: {len(official)} of"
        f" official cfgs, {len(good) - len(official)} of small ones. Every value of every layer"
        f" differs by at most {worst['error']:.1e} of the layer's largest magnitude"
        f" (`{worst['name']}`; the limit is {keys.LIMIT:.0e}), and every weights file is written"
        f" back byte for byte. In {len(keys.STOCK_WRONG)} keys the C program's CPU code is"
        " wrong in some layers: [differences.md](differences.md).\n"
    )
    yield (
        "A cell has the number of matched keys that use the section, or set the option, in that"
        " fork, one of them, and the largest error in them; `-` means that no key at hand uses it,"
        " an empty cell that the fork does not have it. Options that act only in training are"
        " read, checked and kept.\n"
    )
    yield from net_table(evidence)
    for names, entries in sections():
        yield f"\n## {', '.join(f'[{name}]' for name in names)}\n"
        for cls, only in entries:
            yield from table(names, cls, only, evidence)


def sections() -> Iterator[tuple[list[str], list[tuple[type[Layer], Dialect | None]]]]:
    """Yield names that mean the same, with their layer types."""
    grouped: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for name, classes in sorted(registered().items()):
        grouped[tuple(classes)].append(name)
    for entries, names in grouped.items():
        yield names, list(entries)


def net_table(evidence: dict[tuple[str, str, str], Evidence]) -> Iterator[str]:
    yield "\n## [net], [network]\n"
    yield from rows(["net", "network"], Net, None, evidence)


def table(
    names: list[str],
    cls: type[Layer],
    only: Dialect | None,
    evidence: dict[tuple[str, str, str], Evidence],
) -> Iterator[str]:
    yield f"{(cls.__doc__ or '').splitlines()[0]}\n"
    yield from rows(names, cls, only, evidence)
    yield ""


def rows(
    names: list[str],
    cls: type,
    only: Dialect | None,
    evidence: dict[tuple[str, str, str], Evidence],
) -> Iterator[str]:
    yield "| option | " + " | ".join(fork.name for fork in FORKS) + " |"
    yield "|---|" + "---|" * len(FORKS)
    common = options.option_names(Layer) if issubclass(cls, Layer) else {}
    for option, limit in {"": None, **options.option_names(cls)}.items():
        cells = []
        for fork in FORKS:
            here = fork.knows(only) and fork.knows(limit)
            cells.append(str(joined(fork.name, names, option, evidence)) if here else "")
        if option in common and set(cells) <= {"", "-"}:
            continue  # the options of every section, where no key sets them
        yield f"| {f'`{option}`' if option else '(section)'} | " + " | ".join(cells) + " |"


def joined(
    fork: str, names: list[str], option: str, evidence: dict[tuple[str, str, str], Evidence]
) -> Evidence:
    total = Evidence()
    for name in names:
        each = evidence.get((fork, name, option), Evidence())
        total = Evidence(total.names | each.names, max(total.error, each.error))
    return total


if __name__ == "__main__":
    sys.exit(main())
