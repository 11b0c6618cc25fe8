"""Annotated frames (MJPEG) and detections (JSON) for any number of readers, over HTTP.

A browser shows http://127.0.0.1:8090; `curl http://127.0.0.1:8070` prints the detections in the
form that Darknet sends them: an array that goes on as long as the video does.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore, Condition
from typing import Any

from darknet_torch.errors import UsageError
from darknet_torch.safety.text import to_json
from darknet_torch.safety.threads import Background
from darknet_torch.videos.frame import VideoFrame

__all__ = ["Feed", "darknet_json", "json_feed", "mjpeg_feed"]

MOST_READERS = 16
"""Readers at once; others get the status 503, and of twice as many no answer."""
PATIENCE = 10.0
"""Seconds that a reader may take for one part, and for its request."""
AT_THE_END = 2.0
"""Seconds that readers have to take the last parts."""
BOUNDARY = b"frame"


class Feed:
    """A server that sends each part that it is given to all who read.

    Slow readers miss parts, and hold up nobody.

    Args:
        port: to listen on; 0 is any that is free.
        address: of this machine; "0.0.0.0" is all of them, for readers elsewhere.
        kind: the type of what is sent, for its header.
        most: parts that wait for a reader.
        frame: (before the first, before the others, behind each, at the end) bytes around parts.

    Raises:
        UsageError: the port is in use, or not allowed.
    """

    def __init__(
        self,
        port: int,
        address: str,
        kind: str,
        most: int,
        frame: tuple[bytes, bytes, bytes, bytes],
    ) -> None:
        self.kind, self.most, self.frame = kind, most, frame
        self._readers, self._changed, self._ended = list[deque[bytes]](), Condition(), False
        try:
            self._server = _Server((address, port), self)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"port {port} of {address}: {reason}") from error
        self.port = int(self._server.server_address[1])
        serve = partial(self._server.serve_forever, 0.1)
        self._thread = Background(serve, self._server.shutdown)

    @property
    def has_readers(self) -> bool:
        """Whether somebody reads."""
        return bool(self._readers)

    def send(self, part: bytes) -> None:
        """Send a part to all who read."""
        with self._changed:
            for waiting in self._readers:
                waiting.append(part)
            self._changed.notify_all()

    def stop(self) -> None:
        """Let the readers end, once they have what waits."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Send what waits, and end."""
        self.stop()
        with self._changed:
            self._changed.wait_for(lambda: not self._readers, AT_THE_END)
        self._thread.close()
        self._server.server_close()

    @contextmanager
    def reading(self) -> Iterator[Iterator[bytes] | None]:
        """Yield the parts for a new reader; None where there are too many readers."""
        waiting = deque[bytes](maxlen=self.most)
        with self._changed:
            if len(self._readers) >= MOST_READERS or self._ended:
                yield None
                return
            self._readers.append(waiting)
        try:
            yield self._parts(waiting)
        finally:
            with self._changed:
                self._readers = [each for each in self._readers if each is not waiting]
                self._changed.notify_all()

    def _parts(self, waiting: deque[bytes]) -> Iterator[bytes]:
        first, later, behind, end = self.frame
        before = first
        while True:
            with self._changed:
                self._changed.wait_for(lambda: waiting or self._ended)
                if not waiting:
                    break
                part = waiting.popleft()
            yield before + part + behind
            before = later
        yield end if before is later else first + end


class _Server(ThreadingHTTPServer):
    def __init__(self, address: tuple[str, int], feed: Feed) -> None:
        self.feed, self._places = feed, BoundedSemaphore(2 * MOST_READERS)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, if there are not too many."""
        if self._places.acquire(blocking=False):
            answer = partial(self.process_request_thread, request, client_address)
            Background(answer, self.feed.stop, AT_THE_END)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and free the place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: readers come and go."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = PATIENCE

    def do_GET(self) -> None:
        """Send the parts as they come, until the reader leaves or the video ends."""
        with self.server.feed.reading() as parts:
            if parts is None:
                self.send_error(503, "Too many readers")
                return
            self.send_response(200)
            self.send_header("Content-Type", self.server.feed.kind)
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            for part in parts:
                self.wfile.write(part)
                self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        """Keep the terminal free."""


def mjpeg_feed(port: int, address: str = "127.0.0.1") -> Feed:
    """Return a feed of JPEG images, which a browser shows as a video; see `Feed`."""
    kind = f"multipart/x-mixed-replace; boundary={BOUNDARY.decode()}"
    before = b"--" + BOUNDARY + b"\r\nContent-Type: image/jpeg\r\n\r\n"
    return Feed(port, address, kind, 1, (before, before, b"\r\n", b"--" + BOUNDARY + b"--\r\n"))


def json_feed(port: int, address: str = "127.0.0.1") -> Feed:
    """Return a feed of `darknet_json`, in one array; see `Feed`."""
    return Feed(port, address, "application/json", 256, (b"[\n", b",\n", b"", b"\n]\n"))


def darknet_json(frame: VideoFrame) -> str:
    """Return the detections of a frame as Darknet sends them: boxes as cxcywh in fractions."""
    d = frame.detections
    ids = frame.track_ids or (None,) * len(d)
    objects = []
    for (box, score, class_id, name), track_id in zip(d, ids, strict=True):
        x, w = (box[0] + box[2]) / 2 / d.width, (box[2] - box[0]) / d.width
        y, h = (box[1] + box[3]) / 2 / d.height, (box[3] - box[1]) / d.height
        place = {"center_x": x, "center_y": y, "width": w, "height": h}
        content: dict[str, Any] = {"class_id": class_id, "name": name}
        content["relative_coordinates"] = {key: round(value, 6) for key, value in place.items()}
        content["confidence"] = round(score, 6)
        if track_id is not None:
            content["track_id"] = track_id
        objects.append(content)
    return to_json({"frame_id": frame.number, "objects": objects})
