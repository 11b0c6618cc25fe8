"""The files of a training: state, weights, chart; and how a training goes on from them."""

import importlib.util
import time
from dataclasses import asdict, replace
from pathlib import Path

from torch import Tensor

from darknet_torch.errors import UsageError
from darknet_torch.network import weights_file
from darknet_torch.training import training_state
from darknet_torch.training.metrics_log import draw_chart, read_rows
from darknet_torch.training.options import TrainOptions
from darknet_torch.training.run import Course, Run
from darknet_torch.training.state_checks import values_digest

__all__ = [
    "how_it_goes_on",
    "resume",
    "save",
    "saved_course",
    "start_of",
    "state_path",
    "write_weights",
]

CHART_SECONDS = 30
"""The chart is drawn so often at most."""


def state_path(folder: Path) -> Path:
    """Return the file that a training goes on from."""
    return folder / "state.safetensors"


def save(run: Run, *, is_last: bool = False) -> None:
    """Write the state, the last weights and the chart, which takes longer, not every time.

    Args:
        run: the training.
        is_last: whether it ends here.

    Raises:
        DarknetError: a file cannot be written; those from before are whole.
    """
    if run.is_first:
        solver = run.solver
        training_state.save(
            state_path(run.options.path),
            run.network,
            solver.optimizer,
            solver.ema,
            {"course": asdict(replace(run.course, elapsed=run.elapsed))},
            fingerprint=run.fingerprint,
            kept=run.stepper.kept(),
        )
        write_weights(run, "_last.weights")
        if is_last or time.monotonic() - run.drawn > CHART_SECONDS:
            _draw(run)
            run.drawn = time.monotonic()
    run.saved = time.monotonic()


def write_weights(run: Run, ending: str) -> None:
    """Write a weights file that Darknet reads, with the number of images seen in its header."""
    if run.is_first:
        network = run.solver.averaged()
        network.header = run.network.header._replace(seen=run.course.seen)
        weights_file.write(network, run.path(ending))


def _draw(run: Run) -> None:
    if importlib.util.find_spec("matplotlib") is not None:
        rows = read_rows(run.options.path / "metrics.csv")
        path = run.options.path / "chart.png"
        draw_chart(rows, path, run.score_name, lower_is_better=run.lower_is_better)


def saved_course(options: TrainOptions) -> Course:
    """Return how far the training that goes on is, or an empty course; nothing is changed."""
    path = state_path(options.path)
    if options.fresh or not path.is_file():
        return Course()
    return Course(**training_state.read(path)["course"])


def how_it_goes_on(run: Run) -> str:
    """Return a line about a training that was resumed."""
    path, done = run.options.path, run.course.batches
    if run.course.stopped:
        return f"{path}: this training has ended, after batch {done}; --fresh begins anew"
    own = ", with its own weights, not those given; --fresh begins anew"
    return f"going on after batch {done} of {path}{own if run.other_start else ''}"


def start_of(run: Run) -> str:
    """Return a digest of what a training begins with: the network's values, and images counted."""
    seen = 0 if run.options.clear else run.network.header.seen
    return f"{values_digest(run.network)} {seen}"


def resume(run: Run) -> bool:
    """Take over the state that a training of the same folder left, if there is one.

    Raises:
        UsageError: it is the state of another training.
        WeightsError: the file is damaged.
    """
    path = state_path(run.options.path)
    if run.options.fresh or not path.is_file():
        return False
    solver, start = run.solver, start_of(run)
    try:
        kept: dict[str, Tensor] = {}
        extra = training_state.load(
            path, run.network, solver.optimizer, solver.ema, fingerprint=run.fingerprint, kept=kept
        )
    except UsageError as error:
        hint = "fresh=True (--fresh) starts anew, folder= (--folder) names another place"
        raise UsageError(f"{error}; {hint}") from error
    run.course = Course(**extra["course"])
    before = run.course.start
    # of older states it is not known: there, weights were given if some were loaded
    run.other_start = before != start if before else run.network.loaded > 0
    run.stepper.restore(kept)
    run.course.stopped = run.why_to_stop()  # by the options of now
    return True
