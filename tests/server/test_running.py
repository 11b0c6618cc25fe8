"""A server in a process of its own, on this machine: it answers, and ends well."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection

import pytest
from small_server import photo

import darknet_torch as dt
from darknet_torch.network import Network
from darknet_torch.server.running import serve


@contextmanager
def serving(*words: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The process of the verb and its port; the process is ended where the test has not."""
    code = "import sys; from darknet_torch.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "serve", *words, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("computing on ")
            line = process.stderr.readline()
            found = re.fullmatch(r"serving .* at http://127\.0\.0\.1:(\d+) \(Ctrl-C ends\)\n", line)
            assert found, line
            yield process, int(found[1])
        finally:
            process.kill()


def connect(port: int) -> HTTPConnection:
    return HTTPConnection("127.0.0.1", port, timeout=20)


def test_a_process(small_network: Network) -> None:
    """Slow and silent clients lose their connection, others are served; SIGTERM ends it well."""
    with ExitStack() as stack:
        process, port = stack.enter_context(
            serving("net.cfg", "net.weights", "--upload-timeout", "0.5")
        )
        silent, half = (
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(2)
        )
        half.sendall(b"POST /detect HTTP/1.1\r\nHost: localhost\r\n")
        slow = stack.enter_context(closing(connect(port)))
        slow.putrequest("POST", "/detect")
        slow.putheader("Content-Length", "1000")
        slow.endheaders()
        slow.send(b"x")
        client = stack.enter_context(closing(connect(port)))
        client.request("POST", "/detect?threshold=0.3", photo())
        answer = json.loads(client.getresponse().read())
        wanted = dt.detect(small_network, photo(), threshold=0.3)
        assert isinstance(wanted, dt.Detections)
        assert [each["class"] for each in answer["detections"]] == [each.name for each in wanted]
        late = slow.getresponse()
        assert late.status == 408
        assert json.loads(late.read()) == {"error": "the upload took more than 0.5 seconds"}
        assert silent.recv(100) == b""
        assert half.recv(100) == b""
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", port), 1)


def test_a_port_in_use(small_network: Network) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(dt.DarknetError, match=rf"port {port} of 127\.0\.0\.1: "):
            serve({"small": small_network}, port=port)
    with pytest.raises(dt.DarknetError, match="port 70000"):
        serve({"small": small_network}, port=70000)


def test_in_a_thread_of_a_program(small_network: Network, monkeypatch) -> None:
    """With names of the host, and a key."""
    import uvicorn

    servers: list[uvicorn.Server] = []
    addresses: list[str] = []
    run = uvicorn.Server.run

    def noted(self: uvicorn.Server, **settings) -> None:
        servers.append(self)
        run(self, **settings)

    monkeypatch.setattr(uvicorn.Server, "run", noted)
    arguments = {"port": 0, "api_key": "secret", "started": addresses.append}
    thread = threading.Thread(target=serve, args=({"small": small_network},), kwargs=arguments)
    thread.start()
    end = time.monotonic() + 60
    while not addresses:
        assert time.monotonic() < end
        time.sleep(0.01)
    port = int(addresses[0].rpartition(":")[2])
    for headers, status in (
        ({}, 401),
        ({"X-API-Key": "secret"}, 200),
        ({"X-API-Key": "secret", "Host": "evil.example"}, 400),
    ):
        client = connect(port)
        client.request("GET", "/models", headers=headers)
        assert client.getresponse().status == status
        client.close()
    servers[0].should_exit = True
    thread.join(20)
    assert not thread.is_alive()
