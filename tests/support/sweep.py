"""Long checks, result by result: what is done is kept in a file, and a later run goes on there.

A job is a name; its results are dataclasses with `name`, `state` (`ok`, `FAILED`, `exempt`),
`error`, `seconds` and `failures`, one a job, or several that have a `variant` as well.
"""

import ctypes
import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import card
import conversions
import keys
import subjects
import torch
import train_processes
import trainings
import variants

ROOT = keys.ROOT
FOLDER = ROOT / ".check"

Results = list[dict[str, Any]]
SHOWN = 5
PARENT_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of Linux."""


def _end_with_the_parent() -> None:
    """Let Linux end this process when its parent does, by whatever: it would wait for jobs else."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)


@dataclass(frozen=True)
class Sweep:
    """What to do: `measure(job, threads)` for all jobs; `files(job)` is what its results depend on.

    modules: names of the modules in tests/support/ that the results depend on besides the package.
    """

    path: Path
    jobs: Sequence[str]
    measure: Callable[[str, int], Results]
    files: Callable[[str], Sequence[Path]]
    modules: tuple[str, ...]

    def only(self, parts: Sequence[str]) -> "Sweep":
        """Return the sweep over the jobs that have one of `parts` in their name; all if none."""
        jobs = [job for job in self.jobs if not parts or any(part in job for part in parts)]
        return Sweep(self.path, jobs, self.measure, self.files, self.modules)

    def run(self, processes: int = 1, fresh: bool = False) -> Iterator[tuple[Results, bool]]:
        """Yield the results of every job, and whether they were known from an earlier run."""
        digests = {job: self.digest(job) for job in self.jobs}
        if fresh:
            self.path.unlink(missing_ok=True)
        known = self.read()
        done = [job for job in self.jobs if _well(known.get(job), digests[job])]
        yield from ((known[job], True) for job in done)
        for job, results in self.each([job for job in self.jobs if job not in done], processes):
            self.write(self.read() | {job: [each | {"digest": digests[job]} for each in results]})
            yield results, False

    def each(self, jobs: Sequence[str], processes: int) -> Iterator[tuple[str, Results]]:
        """Yield each job with its results, as it is done."""
        if processes == 1:
            yield from ((job, self.measure(job, 0)) for job in jobs)
            return
        threads = max(1, (os.cpu_count() or 1) // processes)
        spawn = get_context("spawn")
        with ProcessPoolExecutor(processes, spawn, initializer=_end_with_the_parent) as pool:
            futures = {pool.submit(self.measure, job, threads): job for job in jobs}
            for future in as_completed(futures):
                yield futures[future], future.result()

    @cached_property
    def source(self) -> bytes:
        """Digest of the package, of the comparison, and of the version of torch."""
        total = hashlib.sha256(torch.__version__.encode())
        mine = [ROOT / "tests" / "support" / f"{name}.py" for name in self.modules]
        for path in (*sorted((ROOT / "darknet_torch").rglob("*.py")), *mine):
            total.update(path.read_bytes())
        return total.digest()

    def digest(self, job: str) -> str:
        """Return a digest of all that the job's results depend on."""
        total = hashlib.sha256(self.source)
        for path in self.files(job):
            total.update(path.read_bytes())
        return total.hexdigest()

    def read(self) -> dict[str, Results]:
        """Return the results of earlier runs by job; none if the file is damaged."""
        known: dict[str, Results] = {}
        try:
            for result in json.loads(self.path.read_text()).values():
                known.setdefault(result["name"], []).append(result)
        except (OSError, ValueError, AttributeError, KeyError, TypeError):
            return {}
        return known

    def write(self, known: dict[str, Results]) -> None:
        """Write all results, each below its name (and variant), in one move.

        They are read anew before, as another sweep may have added some.
        """
        flat = {_title(result): result for results in known.values() for result in results}
        self.path.parent.mkdir(exist_ok=True)
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(flat, indent=1))
        part.replace(self.path)


def answer_keys() -> Sweep:
    """Return the comparison with every answer key at hand."""
    names = keys.mini_names() + keys.official_names()
    return Sweep(_results("answer_keys"), names, _measure_key, _key_files, ("keys",))


def all_variants() -> Sweep:
    """Return all variants of every official cfg and real model at hand, and of the small keys."""
    names = keys.mini_names() + subjects.names()
    modules = ("keys", "subjects", "variants")
    return Sweep(FOLDER / "variants.json", names, _measure_variants, _variant_files, modules)


def all_conversions() -> Sweep:
    """Return the same networks, optimised and as files in other engines."""
    names = keys.mini_names() + subjects.names()
    modules = ("keys", "subjects", "variants", "conversions")
    path = FOLDER / "conversions.json"
    return Sweep(path, names, _measure_conversions, _variant_files, modules)


def on_device() -> Sweep:
    """Return all these networks, plain and optimized, on the device of `keys.DEVICE`."""
    names = keys.mini_names() + subjects.names()
    modules = ("keys", "subjects", "variants", "card")
    return Sweep(_results("on"), names, _measure_on_device, _variant_files, modules)


def all_trainings() -> Sweep:
    """Return short trainings of every official cfg, and of processes that are killed or many."""
    jobs = [*train_processes.JOBS, *trainings.names()]
    modules = ("trainings", "train_processes", "shapes")
    return Sweep(FOLDER / "trainings.json", jobs, _measure_trainings, _training_files, modules)


def _results(name: str) -> Path:
    """Return the file of a sweep's results; another one for each device."""
    device = "" if keys.DEVICE == "cpu" else f"-{keys.DEVICE.replace(':', '-')}"
    return FOLDER / f"{name}{device}.json"


def _measure_key(name: str, threads: int) -> Results:
    return [asdict(keys.measure(name, threads))]


def _measure_variants(name: str, threads: int) -> Results:
    return [asdict(result) for result in variants.measure(name, threads)]


def _measure_conversions(name: str, threads: int) -> Results:
    return [asdict(result) for result in conversions.measure(name, threads)]


def _measure_on_device(name: str, threads: int) -> Results:
    return [asdict(result) for result in card.measure(name, threads)]


def _measure_trainings(name: str, threads: int) -> Results:
    kind = train_processes if name in train_processes.JOBS else trainings
    return [asdict(result) for result in kind.measure(name, threads)]


def _training_files(name: str) -> Sequence[Path]:
    return [] if name in train_processes.JOBS else [trainings.cfg_of(name)]


def _key_files(name: str) -> Sequence[Path]:
    key = keys.find(name)
    return key.cfg, key.path, key.path.with_suffix(".npz")


def _variant_files(name: str) -> Sequence[Path]:
    return subjects.files(name) if "/" in name else _key_files(name)[:2]


def _well(results: Results | None, digest: str) -> bool:
    return bool(results) and all(
        result.get("digest") == digest and result["state"] != "FAILED" for result in results or ()
    )


def _title(result: dict[str, Any]) -> str:
    return f"{result['name']} {result['variant']}" if "variant" in result else str(result["name"])


def lines(results: Results) -> Iterator[str]:
    """Yield a line of a job with its worst error, then what failed in it and what is noted."""
    state = "FAILED" if failed(results) else "ok"
    error = max(result["error"] for result in results)
    seconds = sum(result["seconds"] for result in results)
    yield f"{results[0]['name']:50} {state:6} {error:9.2e} {seconds:6.1f} s"
    for result in results:
        what = f"{result['variant']} {result['state']}: " if "variant" in result else ""
        for remark in (*result["failures"][:SHOWN], *result.get("notes", ())):
            yield f"    {what}{remark}"


def failed(results: Results) -> bool:
    """Return whether any of the results is a failure."""
    return any(result["state"] == "FAILED" for result in results)


def table(results: Results, what: str = "keys") -> Iterator[str]:
    """Yield the summary: a line for each variant, or one for all keys."""
    for kind in dict.fromkeys(result.get("variant", what) for result in results):
        some = [result for result in results if result.get("variant", what) == kind]
        states = [result["state"] for result in some]
        counts = ", ".join(f"{states.count(s):3} {s.lower()}" for s in ("ok", "FAILED", "exempt"))
        matched = [result for result in some if result["state"] == "ok"]
        worst = max(matched, key=lambda result: result["error"], default=None)
        tail = (
            f"; largest error of those ok {worst['error']:.2e} ({worst['name']})" if worst else ""
        )
        yield f"{kind:14} {counts}{tail}"
