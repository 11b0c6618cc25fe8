"""Clients of the server, as cheap as they can be: one process, prepared bytes, open connections.

    python tools/bench_clients.py PORT FILE CLIENTS SECONDS

Each client posts the file to /detect, waits for the answer, and begins again. The time begins with
the answer that makes them as many as the clients, and ends with the last one in time; then all wait
for those that are still to come. A line of JSON is printed: the seconds of all answers, how many of
each status came in time, that time, and the seconds of a core that this process has used.
"""

import json
import selectors
import socket
import sys
import time
from collections import Counter
from pathlib import Path

END = b"\r\n\r\n"


class Client:
    """A connection that sends one request after the other."""

    def __init__(self, port: int, request: bytes, selector: selectors.BaseSelector) -> None:
        self.request, self.selector = memoryview(request), selector
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setblocking(False)
        selector.register(self.socket, selectors.EVENT_WRITE, self)
        self.begin()

    def begin(self) -> None:
        """Begin to send the request."""
        self.rest, self.answer, self.begun = self.request, b"", time.monotonic()
        self.selector.modify(self.socket, selectors.EVENT_WRITE, self)

    def send(self) -> None:
        """Send what the connection takes; wait for the answer behind the last byte."""
        self.rest = self.rest[self.socket.send(self.rest) :]
        if not self.rest:
            self.selector.modify(self.socket, selectors.EVENT_READ, self)

    def receive(self) -> int | None:
        """Return the status of an answer once it is whole."""
        part = self.socket.recv(1 << 16)
        if not part:
            raise ConnectionError("the server closed a connection")
        self.answer += part
        head, end, body = self.answer.partition(END)
        return int(head.split(None, 2)[1]) if end and len(body) >= _length(head) else None

    def close(self) -> None:
        """End."""
        self.selector.unregister(self.socket)
        self.socket.close()


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    raise ValueError("an answer without its length")


def run(port: int, content: bytes, count: int, seconds: float) -> dict[str, object]:
    """Let some clients send and receive for a while."""
    head = f"POST /detect HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}"
    request = head.encode() + END + content
    in_time, times = Counter[int](), list[float]()
    start = last = end = float("inf")
    with selectors.DefaultSelector() as selector:
        for _ in range(count):
            Client(port, request, selector)
        while selector.get_map():
            for key, events in selector.select():
                client: Client = key.data
                if events & selectors.EVENT_WRITE:
                    client.send()
                elif (status := client.receive()) is not None:
                    now = time.monotonic()
                    times.append(now - client.begun)
                    if len(times) == count:
                        start, end = now, now + seconds
                    elif len(times) > count and now < end:
                        in_time[status], last = in_time[status] + 1, now
                    client.begin() if now < end else client.close()
    return {
        "seconds": times,
        "in time": in_time,
        "time": last - start,
        "core": time.process_time(),
    }


if __name__ == "__main__":
    port, file, count, seconds = sys.argv[1:]
    print(json.dumps(run(int(port), Path(file).read_bytes(), int(count), float(seconds))))
