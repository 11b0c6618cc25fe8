"""The server of `darknet-torch serve` on this machine: clients at once, and hostile uploads.

Images in a second of 32 clients, in turns with those of `detect` on a list of the same photo, with
a network of the same kind; then the server's memory before and after uploads that are no images.
The clients compute on the same cores: what they use is measured, and left out in a second ratio.
`tools/bench.py serve`.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from io import BytesIO
from pathlib import Path
from typing import Any

from bench_figures import keep

CLIENTS, SECONDS, TURNS, PROMISED = 32, 60, 4, 0.9
IMAGES, HOSTILE, SLOW = 128, 1000, 20
COMMAND = "import sys; from darknet_torch.cli import main; sys.exit(main())"
CLIENT = Path(__file__).with_name("bench_clients.py")


@dataclass
class Side:
    """What the server, its clients, or `detect` did in their turns.

    Args:
        rates: images in a second of each turn.
        images: of all turns.
        cores: seconds of a core that were used for them.
        seconds: of all turns.
    """

    rates: list[float] = field(default_factory=list)
    images: int = 0
    cores: float = 0.0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Images in a second."""
        return statistics.median(self.rates)

    @property
    def core(self) -> float:
        """Milliseconds of a core, for an image."""
        return self.cores / self.images * 1e3

    def __str__(self) -> str:
        rates = ", ".join(f"{each:.1f}" for each in self.rates)
        busy = self.cores / self.seconds
        return (
            f"{self.rate:.1f} images/s ({rates}), {self.core:.1f} ms of a core an image,"
            f" {busy:.2f} cores busy"
        )


@dataclass
class Posting:
    """The server and its clients.

    Args:
        port: of the server.
        process: of the server.
    """

    port: int
    process: int
    server: Side = field(default_factory=Side)
    clients: Side = field(default_factory=Side)
    statuses: Counter[str] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)

    def turn(self, seconds: float) -> None:
        """Let the clients post for a while, see bench_clients.py."""
        import darknet_torch as dt

        begun, used = time.perf_counter(), cores_time(self.process)
        words = map(str, (self.port, dt.SAMPLE, CLIENTS, seconds))
        done = subprocess.run(
            [sys.executable, CLIENT, *words], check=True, stdout=subprocess.PIPE, text=True
        )
        found = json.loads(done.stdout)
        self.server.cores += cores_time(self.process) - used
        self.server.seconds += time.perf_counter() - begun
        self.clients.cores += found["core"]
        self.statuses.update(found["in time"])
        self.times += found["seconds"]
        self.server.rates.append(sum(found["in time"].values()) / found["time"])
        self.server.images = self.clients.images = len(self.times)


def bench_serve(options: argparse.Namespace) -> None:
    """yolov4-tiny 416 for a minute, in turns with detect."""
    import darknet_torch as dt

    # as both verbs make it of a name: packed, not compiled
    network, detect = dt.optimize(dt.load("yolov4-tiny"), compile=False), Side()
    with served("--upload-timeout", "3") as (port, process):
        dt.detect(network, [dt.SAMPLE] * 64)
        Posting(port, process).turn(1)
        posting = Posting(port, process)
        for _ in range(TURNS):
            detecting(network, detect)
            posting.turn(SECONDS / TURNS)
        detecting(network, detect)
        report(posting, detect, options)
        hostile(port, process, Path(dt.SAMPLE).read_bytes())


def detecting(network: Any, detect: Side) -> None:
    """Let `detect` work on a list of one photo."""
    import darknet_torch as dt

    begun, used = time.perf_counter(), time.process_time()
    dt.detect(network, [dt.SAMPLE] * IMAGES)
    seconds, cores = time.perf_counter() - begun, time.process_time() - used
    detect.rates.append(IMAGES / seconds)
    detect.images, detect.seconds = detect.images + IMAGES, detect.seconds + seconds
    detect.cores += cores


def report(posting: Posting, detect: Side, options: argparse.Namespace) -> None:
    """Print both sides and their ratios."""
    server, clients, times = posting.server, posting.clients, sorted(posting.times)
    ratio, all_cores = server.rate / detect.rate, server.core + clients.core
    ratios = {
        "serve / detect": ratio,
        "without the clients": ratio * all_cores / server.core,
        "by time of a core": detect.core / server.core,
    }
    print(
        f"serve yolov4-tiny 416, {CLIENTS} clients for {SECONDS} s in {TURNS} turns:"
        f" {dict(posting.statuses)}, median {statistics.median(times):.2f} s,"
        f" 95 % within {times[int(0.95 * len(times))]:.2f} s\n"
        f"  serve:  {server}\n  detect: {detect}\n"
        f"  the clients, on the same cores: {clients.core:.2f} ms of a core an image\n  "
        + ", ".join(f"{name} {each:.2f} x" for name, each in ratios.items())
        + f" (promised {PROMISED})",
        flush=True,
    )
    figures = {
        "serve, images/s": server.rate,
        "detect, images/s": detect.rate,
        **ratios,
        "at least": PROMISED,
        "serve, ms of a core": server.core,
        "detect, ms of a core": detect.core,
        "clients, ms of a core": clients.core,
    }
    keep(options, "serve", f"yolov4-tiny 416, {CLIENTS} clients", "", figures)


@contextmanager
def served(*words: str) -> Iterator[tuple[int, int]]:
    """Yield the port and the process of a server."""
    command = [sys.executable, "-c", COMMAND, "serve", "yolov4-tiny", "--port", "0", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = (re.search(r"127\.0\.0\.1:(\d+)", line) for line in process.stderr)
        found = next(filter(None, lines), None)
        assert found is not None
        threading.Thread(target=process.stderr.read, daemon=True).start()
        try:
            yield int(found[1]), process.pid
        finally:
            process.terminate()
            print(f"  the server ended with status {process.wait(60)}")


def hostile(port: int, process: int, content: bytes) -> None:
    """Send what is no image, or too slowly; print statuses, memory, and whether it serves on."""
    kinds = bad_files(content)
    for kind in kinds:
        post(port, kind)
    before = memory(process)
    statuses = Counter[int]()
    slow = [threading.Thread(target=lambda: statuses.update([slowly(port)])) for _ in range(SLOW)]
    for thread in slow:
        thread.start()
    for number in range(HOSTILE - SLOW):
        statuses[post(port, kinds[number % len(kinds)])] += 1
    for thread in slow:
        thread.join()
    print(
        f"  {HOSTILE} hostile uploads ({SLOW} slow): {dict(statuses)}; memory of the server"
        f" {before / 1e6:.0f} MB before, {memory(process) / 1e6:.0f} MB after;"
        f" a photo after them: {post(port, content)}"
    )


def bad_files(content: bytes) -> list[bytes]:
    """Return files that are no images, cut, too large, or with too many pixels."""
    from PIL import Image

    bombs = []
    for kind, side in (("PNG", 12_000), ("GIF", 9_000), ("TIFF", 8_000)):
        file = BytesIO()
        settings = {"compression": "tiff_deflate"} if kind == "TIFF" else {}
        Image.new("L", (side, side)).save(file, kind, **settings)
        bombs.append(file.getvalue())
    cut = [content[:count] for count in (10, 1000, len(content) // 2)]
    wrong = [b"", b"text", b"<svg/>", b"%!PS-Adobe-3.0", b"PK\x03\x04" + bytes(100), b"II*\0" * 50]
    return [*bombs, *cut, *wrong, bytes(17_000_000)]


def post(port: int, content: bytes) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    with suppress(BrokenPipeError, ConnectionResetError):  # the answer is there already
        connection.request("POST", "/detect", content)
    try:
        return connection.getresponse().status
    except (OSError, HTTPException):
        return 0
    finally:
        connection.close()


def slowly(port: int) -> int:
    """Send a byte a second; return the status."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.putrequest("POST", "/detect")
    connection.putheader("Content-Length", "100000")
    connection.endheaders()
    for _ in range(4):
        connection.send(b"x")
        time.sleep(1)
    status = connection.getresponse().status
    connection.close()
    return status


def cores_time(process: int) -> float:
    """Return the seconds of a core that a process has used (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(process: int) -> int:
    """Return the bytes of memory that a process has now (Linux)."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * 4096
