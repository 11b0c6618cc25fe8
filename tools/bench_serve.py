"""The server of `darknet-torch serve` on this machine: clients at once, and hostile uploads.

Images in a second of 32 clients, beside those of `detect` on a list of the same photo in the same
run; the server's memory before and after uploads that are no images. `tools/bench.py serve`.
"""

import argparse
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
from http.client import HTTPConnection, HTTPException
from io import BytesIO
from pathlib import Path

CLIENTS, SECONDS, PROMISED = 32, 60, 0.9
IMAGES, HOSTILE, SLOW = 128, 1000, 20
COMMAND = "import sys; from darknet_torch.cli import main; sys.exit(main())"


def bench_serve(_: argparse.Namespace) -> None:
    """yolov4-tiny 416 for a minute; detect before and after it."""
    import darknet_torch as dt

    content = Path(dt.SAMPLE).read_bytes()
    before = detected()
    with served("--upload-timeout", "3") as (port, process):
        clients(port, content, 3)
        begun = cores_time(process)
        statuses, seconds = clients(port, content, SECONDS)
        cost = (cores_time(process) - begun) / len(seconds)
        rates = [*before, *detected()]  # while the server has nothing to do
        hostile(port, process, content)
    served_rate = statuses[200] / SECONDS
    rate = statistics.median(each for each, _ in rates)
    alone = statistics.median(each for _, each in rates)
    ordered = sorted(seconds)
    late = ordered[int(0.95 * len(ordered))]
    print(
        f"serve yolov4-tiny 416, {CLIENTS} clients for {SECONDS} s: {served_rate:.1f} images/s,"
        f" {dict(statuses)}, median {statistics.median(ordered):.2f} s, 95 % within {late:.2f} s;"
        f" detect on a list {rate:.1f} images/s ({', '.join(f'{each:.1f}' for each, _ in rates)}):"
        f" {served_rate / rate:.2f} x (promised {PROMISED}), the clients on the same cores;"
        f" {cost * 1e3:.1f} ms of a core an image, detect {alone * 1e3:.1f}: {alone / cost:.2f} x",
        flush=True,
    )


def detected(rounds: int = 2) -> list[tuple[float, float]]:
    """Return images in a second of `detect` on a list of one photo, and seconds of a core each."""
    import darknet_torch as dt

    fast, rates = dt.optimize(dt.load("yolov4-tiny")), []
    dt.detect(fast, [dt.SAMPLE] * 64)
    for _ in range(rounds):
        begun, used = time.perf_counter(), time.process_time()
        dt.detect(fast, [dt.SAMPLE] * IMAGES)
        seconds = time.perf_counter() - begun
        rates.append((IMAGES / seconds, (time.process_time() - used) / IMAGES))
    return rates


@contextmanager
def served(*words: str) -> Iterator[tuple[int, int]]:
    """Yield the port and the process of a server."""
    command = [sys.executable, "-c", COMMAND, "serve", "yolov4-tiny", "--port", "0", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        found = re.search(r"127\.0\.0\.1:(\d+)", process.stderr.readline())
        assert found is not None
        threading.Thread(target=process.stderr.read, daemon=True).start()
        try:
            yield int(found[1]), process.pid
        finally:
            process.terminate()
            print(f"  the server ended with status {process.wait(60)}")


def clients(port: int, content: bytes, seconds: float) -> tuple[Counter[int], list[float]]:
    """Post an image again and again from many threads; return statuses in time, and all times."""
    statuses, times, end = Counter[int](), list[float](), time.monotonic() + seconds

    def run() -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        while time.monotonic() < end:
            begun = time.monotonic()
            connection.request("POST", "/detect", content)
            response = connection.getresponse()
            response.read()
            times.append(time.monotonic() - begun)
            if time.monotonic() < end:
                statuses[response.status] += 1
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses, times


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
