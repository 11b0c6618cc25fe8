"""Feed random cfgs, weights and data sets to the package: only its own errors may come out.

    python tools/fuzz.py --count 200000 --seed 1 --jobs 2
    python tools/fuzz.py --subject data

Every case is made from its number and the seed alone, so that a failure can be made again:

    python tools/fuzz.py --seed 1 --only 4711

fuzz_cfg.py makes the cfgs, fuzz_data.py the data sets. What counts as a failure: an exception that
is no DarknetError, a message of several lines, a case that takes longer than --limit seconds, an
output of another shape than was planned, and memory beyond --memory. The input of every failure is
written into --out.

    python tools/fuzz.py --guided --seconds 600      # files of every kind, led by coverage

is the business of fuzz_guided.py and fuzz_targets.py.
"""

import argparse
import math
import random
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import fuzz_cfg
import fuzz_data
import torch
from fuzz_guided import guided
from fuzz_limits import TooSlow, place_of, time_limit
from fuzz_targets import TARGETS

from darknet_torch.parsing.dialect import DIALECTS


class Failure(NamedTuple):
    number: int
    what: str
    detail: str
    cfg: str


@dataclass(frozen=True)
class Settings:
    """What every case is told."""

    seed: int = 0
    limit: float = 10.0
    memory: int = 1 << 31
    until: float = math.inf
    """No block of cases begins after this time."""
    subject: str = "cfg"


def made(number: int, settings: Settings) -> tuple[str, str, Callable[[Path], str]]:
    """What a case is about, its input, and the function that runs it in a folder."""
    rng = random.Random(f"{settings.seed} {number}")
    if settings.subject == "data":
        case = fuzz_data.make(rng)
        text = case.content.decode(errors="surrogateescape")
        return f"{case.source} {case.file}", text, partial(fuzz_data.run, case, rng)
    dialect = rng.choice(tuple(DIALECTS.values()))
    cfg = fuzz_cfg.make_cfg(rng, dialect)
    return dialect.name, cfg, partial(fuzz_cfg.run_case, cfg, dialect, rng)


def check(number: int, settings: Settings, folder: Path) -> tuple[str, Failure | None]:
    """Make and run one case."""
    about, cfg, run_it = made(number, settings)
    torch.manual_seed(number)
    try:
        with warnings.catch_warnings(), time_limit(settings.limit):
            warnings.simplefilter("ignore")
            return run_it(folder), None
    except TooSlow:
        frame = traceback.format_exc(limit=-3)
        return "failed", Failure(number, f"longer than {settings.limit} s", frame, cfg)
    except (Exception, RecursionError) as error:
        what = f"{type(error).__name__} in {place_of(error)}: {str(error)[:160]}"
        return "failed", Failure(number, what, f"{about}\n{traceback.format_exc(limit=-6)}", cfg)


def _limit_memory(settings: Settings) -> None:
    """Let this process have no more than `memory` beyond what it has now."""
    torch.set_num_threads(1)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    if pages:
        wanted = pages * resource.getpagesize() + settings.memory
        resource.setrlimit(resource.RLIMIT_AS, (wanted, wanted))


def run_some(numbers: range, settings: Settings) -> tuple[Counter[str], list[Failure]]:
    """Run cases one after the other."""
    counts: Counter[str] = Counter()
    failures: list[Failure] = []
    if time.time() > settings.until:
        return counts, failures
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
        for number in numbers:
            stage, failure = check(number, settings, Path(folder))
            counts[stage] += 1
            if failure is not None:
                failures.append(failure)
    return counts, failures


def run(
    count: int,
    settings: Settings,
    jobs: int = 1,
    report: Callable[[int, list[Failure]], None] = lambda done, failures: None,
) -> tuple[Counter[str], list[Failure]]:
    """Run `count` cases in `jobs` processes; `report` hears after every block."""
    blocks = [range(first, min(first + 500, count)) for first in range(0, count, 500)]
    counts: Counter[str] = Counter()
    failures: list[Failure] = []
    # spawn: a forked torch may hang on the locks of threads that are not there any more
    with ProcessPoolExecutor(
        jobs, get_context("spawn"), initializer=_limit_memory, initargs=(settings,)
    ) as pool:
        for some, bad in pool.map(partial(run_some, settings=settings), blocks):
            counts += some
            failures += bad
            report(sum(counts.values()), bad)
    return counts, failures


def as_bytes(text: str) -> bytes:
    """A damaged file as it was; a cfg may have surrogates that no bytes stand for."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def keep(failure: Failure, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{failure.number}.cfg"
    path.write_bytes(as_bytes(failure.cfg))
    path.with_suffix(".txt").write_text(f"{failure.what}\n\n{failure.detail}", errors="replace")
    return path


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--subject", choices=("cfg", "data"), default="cfg", help="(cfg)")
    parser.add_argument(
        "--guided",
        nargs="*",
        metavar="TARGET",
        help=f"led by coverage, --seconds (60) each: {', '.join(TARGETS)} (all)",
    )
    parser.add_argument("--count", type=int, default=10_000, help="cases (default 10000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--limit", type=float, default=10, help="seconds a case may take")
    parser.add_argument("--memory", type=int, default=2048, help="MB that a process may add")
    parser.add_argument("--seconds", type=float, help="begin no new block after so long")
    parser.add_argument("--only", type=int, help="run this case alone and show it")
    parser.add_argument("--out", type=Path, default=Path("fuzz"), help="folder for failing inputs")
    arguments = parser.parse_args()
    if arguments.guided is not None:
        if unknown := set(arguments.guided) - TARGETS.keys():
            parser.error(f"--guided: no target {', '.join(unknown)}")
        targets = arguments.guided or list(TARGETS)
        return guided(targets, arguments.seconds or 60, arguments.jobs, arguments.out.resolve())
    until = time.time() + (arguments.seconds or math.inf)
    settings = Settings(
        arguments.seed, arguments.limit, arguments.memory << 20, until, arguments.subject
    )
    if arguments.only is not None:
        return show(arguments.only, settings)
    started = time.monotonic()
    counts, failures = run(arguments.count, settings, arguments.jobs, _progress(started))
    seconds = time.monotonic() - started
    print(f"{counts.total()} cases in {seconds:.0f} s, {counts.total() / seconds:.0f} a second")
    for stage, number in counts.most_common():
        print(f"{number:8} {stage}")
    kinds: dict[str, list[Failure]] = {}
    for failure in failures:
        kinds.setdefault(failure.what.partition(": ")[0], []).append(failure)
    for some in sorted(kinds.values(), key=len, reverse=True):
        shortest = min(some, key=lambda failure: len(failure.cfg))
        print(f"{len(some):8} x {shortest.what}\n         such as {keep(shortest, arguments.out)}")
    return 1 if failures else 0


def _progress(started: float) -> Callable[[int, list[Failure]], None]:
    def report(done: int, failures: list[Failure]) -> None:
        rate = done / (time.monotonic() - started)
        if sys.stderr.isatty():
            print(f"\r{done} cases, {rate:.0f} a second", end="", file=sys.stderr)
        for failure in failures:
            print(f"case {failure.number}: {failure.what}", file=sys.stderr)

    return report


def show(number: int, settings: Settings) -> int:
    """Run one case and print its input and what came out."""
    _limit_memory(settings)
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
        stage, failure = check(number, settings, Path(folder))
    about, cfg, _ = made(number, settings)
    print(cfg.encode("utf-8", "backslashreplace").decode())
    print(f"--- {about}: {stage if failure is None else failure.what}")
    print("" if failure is None else failure.detail)
    return 0 if failure is None else 1


if __name__ == "__main__":
    sys.exit(main())
