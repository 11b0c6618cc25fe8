"""A camera: an RTSP server on this machine that sends a transport stream once, and hangs up."""

import re
import socket
import struct
import threading
import time

__all__ = ["Camera"]

DESCRIPTION = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\n"
PACKETS = 7 * 188
"""Bytes of a transport stream in one RTP packet."""


class Camera:
    """Serves one reader after the other; between them it is switched off for a while.

    content: of an MPEG transport stream; times: how often it is sent; pause: seconds switched off.
    """

    def __init__(self, content: bytes, times: int = 2, pause: float = 0.3) -> None:
        self.content, self.times, self.pause = content, times, pause
        self.served = 0
        self.first = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.first.getsockname()[1])
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"rtsp://me:secret@127.0.0.1:{self.port}/live"

    def _run(self) -> None:
        for number in range(self.times):
            server = self.first if not number else self._again()
            with server:
                connection, _ = server.accept()
            with connection:
                self._serve(connection)
            self.served += 1
            time.sleep(self.pause)

    def _again(self) -> socket.socket:
        return socket.create_server(("127.0.0.1", self.port))

    def _serve(self, connection: socket.socket) -> None:
        requests = connection.makefile("rb")
        while line := requests.readline():
            verb = line.split()[0].decode()
            headers = b"".join(iter(requests.readline, b"\r\n")).decode()
            number = re.findall(r"(?i)cseq: *(\d+)", headers)[0]
            lines, body = [f"CSeq: {number}", "Session: 1"], ""
            if verb == "OPTIONS":
                lines.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY")
            if verb == "DESCRIBE":
                body = DESCRIPTION
                lines += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
            if verb == "SETUP":
                lines.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
            answer = "\r\n".join(["RTSP/1.0 200 OK", *lines, "", body])
            connection.sendall(answer.encode())
            if verb == "PLAY":
                self._send(connection)
                return

    def _send(self, connection: socket.socket) -> None:
        for number, start in enumerate(range(0, len(self.content), PACKETS)):
            part = self.content[start : start + PACKETS]
            packet = struct.pack(">BBHII", 0x80, 33, number, number * 3000, 1) + part
            connection.sendall(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
            time.sleep(0.002)
