"""What a training returns."""

from dataclasses import dataclass
from pathlib import Path

from darknet_torch.network import Network

__all__ = ["TrainingResult"]


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What `train` returns.

    Attributes:
        network: trained, in eval mode; with `ema_alpha` the averaged one.
        folder: where its files are.
        cfg: that of the network.
        weights: the best ones, or the last ones without validation images.
        batches: number of batches it was trained with.
        score: of the last measurement, in 0..1: mAP@0.50, or top 1 of classifiers; None without
            validation images.
        best: the highest score, that of the file `NAME_best.weights`.
        stopped: "max_batches", "hours", "patience" or "interrupt".
    """

    network: Network
    folder: Path
    cfg: Path
    weights: Path
    batches: int
    score: float | None
    best: float | None
    stopped: str

    def to_dict(self) -> dict[str, object]:
        """Return plain Python values, without the network."""
        return {
            "folder": str(self.folder),
            "cfg": str(self.cfg),
            "weights": str(self.weights),
            "batches": self.batches,
            "score": self.score,
            "best": self.best,
            "stopped": self.stopped,
        }

    def __str__(self) -> str:
        score = "not measured" if self.score is None else f"{self.score:.4f}, best {self.best:.4f}"
        why = {"interrupt": "stopped; the same command goes on"}.get(self.stopped, self.stopped)
        batches = "1 batch" if self.batches == 1 else f"{self.batches} batches"
        return f"{self.folder}: {batches} ({why}); score {score}"
