"""The coverage-guided mode of tools/fuzz.py: atheris changes files and keeps what reaches new code.

    pip install -e ".[fuzz]"
    python tools/fuzz.py --guided --seconds 600 --jobs 2
    python tools/fuzz.py --guided onnx pt --seconds 60

Each target of fuzz_targets.py runs in a process of its own: libFuzzer does not return, and a reader
in C may end it. What counts as a failure is what fuzz.py says. A failing input is written into
--out once for each kind and place, and the fuzzer goes on; what reached new code is in its corpus/.
"""

import argparse
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from fuzz_limits import TooSlow, place_of, time_limit

__all__ = ["Run", "guided"]

MEMORY = 1 << 30
"""Bytes that a process may take beyond those that it has with everything imported."""
LIMIT = 5.0
"""Seconds that an input may take."""


class Result(NamedTuple):
    """What came of one target: the number of runs, and what was printed of each failure."""

    target: str
    runs: int
    failures: tuple[str, ...]


def guided(targets: Sequence[str], seconds: float, jobs: int, out: Path) -> int:
    """Fuzz targets, each for as long; print a line each, and the failures.

    Returns:
        1 if there was a failure.
    """
    results = []
    with ThreadPoolExecutor(jobs) as pool:
        for result in pool.map(lambda target: _fuzz(target, seconds, out), targets):
            results.append(result)
            print(f"{result.runs:9} {result.target}, {len(result.failures)} failures", flush=True)
            print(*result.failures, sep="\n", end="\n" if result.failures else "", flush=True)
    print(f"{sum(result.runs for result in results):9} runs in all")
    return int(any(result.failures for result in results))


def _fuzz(target: str, seconds: float, out: Path) -> Result:
    """Run a target in a process, and again where a reader in C ended it before its time."""
    end, runs, failures = time.monotonic() + seconds, 0, list[str]()
    while (left := int(end - time.monotonic())) > 0 and len(failures) < 20:
        command = [sys.executable, __file__, target, str(left), str(out)]
        ended = subprocess.run(command, capture_output=True, text=True, errors="replace")
        found = re.findall(r"number_of_executed_units: (\d+)", ended.stderr)
        runs += int(found[-1]) if found else 0
        failures += re.findall(r"^FAILURE .*", ended.stderr, re.MULTILINE)
        if ended.returncode:
            last = [
                line for line in ended.stderr.splitlines() if "ERROR" in line or "Error" in line
            ]
            failures.append(f"FAILURE {target}: ended with status {ended.returncode}: {last[-1:]}")
        if not found:
            break
    return Result(target, runs, tuple(failures))


class Run:
    """What libFuzzer calls with each input."""

    def __init__(self, target: str, out: Path) -> None:
        import fuzz_targets

        self.target, self.out, self.run = target, out, fuzz_targets.TARGETS[target]
        self.folder = Path(tempfile.mkdtemp(prefix="fuzz"))
        self.seen: set[str] = set()

    def __call__(self, content: bytes) -> None:
        from darknet_torch.errors import DarknetError

        try:
            with warnings.catch_warnings(), time_limit(LIMIT):
                warnings.simplefilter("ignore")
                self.run(content, self.folder)
        except DarknetError as error:
            message = str(error)
            if "\n" in message or len(message) > 4000 or not message.isprintable():
                self.report(f"a message of {len(message)} letters", content, message[:300])
        except TooSlow:
            self.report(f"longer than {LIMIT:g} s", content, traceback.format_exc(limit=-6))
        except (Exception, RecursionError) as error:
            what = f"{type(error).__name__} in {place_of(error)}"
            self.report(what, content, traceback.format_exc(limit=-8))

    def report(self, what: str, content: bytes, detail: str) -> None:
        """Keep the first input of a kind of failure."""
        if what in self.seen:
            return
        self.seen.add(what)
        self.out.mkdir(parents=True, exist_ok=True)
        path = self.out / f"{self.target}-{len(self.seen)}-{abs(hash(content)) % 10**6}"
        path.write_bytes(content)
        path.with_name(f"{path.name}.txt").write_text(f"{what}\n\n{detail}", errors="replace")
        print(f"FAILURE {self.target}: {what}: {path}", file=sys.stderr, flush=True)


def _in_this_process(target: str, seconds: int, out: Path) -> None:
    """Fuzz one target until the time is over; never returns."""
    import atheris

    with atheris.instrument_imports(include=["darknet_torch", "yaml"]):
        import fuzz_targets
        import torch

    torch.set_num_threads(1)
    corpus = out / "corpus" / target
    corpus.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(fuzz_targets.seeds(target)):
        (corpus / f"seed-{number}").write_bytes(content)
    run = Run(target, out)
    for path in sorted(corpus.glob("seed-*")):
        run(path.read_bytes())  # what is imported late, before the limit
    _limit_memory()
    options = ["-print_final_stats=1", "-rss_limit_mb=0", "-max_len=20000", "-timeout=60"]
    artifacts = f"-artifact_prefix={out}/{target}-"
    atheris.Setup(
        [sys.argv[0], f"-max_total_time={seconds}", *options, artifacts, str(corpus)], run
    )
    atheris.Fuzz()


def _limit_memory() -> None:
    with suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        wanted = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (wanted, wanted))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("seconds", type=int)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    _in_this_process(options.target, options.seconds, options.out)


if __name__ == "__main__":
    main()
