"""What every request passes: key, host, headers; and the counters of all."""

import pytest
from small_server import client_of, photo
from starlette.testclient import TestClient

from darknet_torch.network import Network

PRIVATE = ("/models", "/models/small/layers", "/metrics", "/images/x", "/images/x/layers/0")
PUBLIC = ("/", "/page/page.js", "/page/page.css", "/health", "/ready")


def test_a_key(small_network: Network) -> None:
    with client_of(small_network, api_key="secret") as client:
        for path in PUBLIC:
            assert client.get(path).status_code == 200
        for path in PRIVATE:
            refused = client.get(path)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
            assert refused.json()["error"].startswith("an API key is needed")
        wrong: list[dict] = [{}, {"X-API-Key": "other"}, {"Authorization": "Basic secret"}]
        wrong += [{"Authorization": "Bearer "}, {"X-API-Key": "secr\u00e9t".encode()}]
        for headers in wrong:
            posted = client.post("/detect", content=photo(), headers=headers)
            assert posted.status_code == 401
        for headers in ({"X-API-Key": "secret"}, {"Authorization": "bearer secret"}):
            assert client.post("/detect", content=photo(), headers=headers).status_code == 200
            assert client.get("/models", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:8000", 200), ("LOCALHOST", 200), ("[::1]:80", 200), ("evil.example", 400)],
)
def test_names_of_the_host(small_network: Network, host: str, status: int) -> None:
    """A page elsewhere whose name was made to lead here must not read what is here."""
    with client_of(small_network, allowed_hosts=("localhost", "[::1]")) as client:
        response = client.get("/models", headers={"Host": host})
        assert response.status_code == status
        if status == 400:
            assert "Host" in response.json()["error"]


@pytest.mark.parametrize("path", ["/", "/models", "/nothing", "/page/page.js"])
def test_headers_of_safety(client: TestClient, path: str) -> None:
    headers = client.get(path, headers={"Origin": "http://evil.example"}).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert "access-control-allow-origin" not in headers


def test_counters(client: TestClient) -> None:
    client.post("/detect", content=photo())
    client.post("/detect", content=b"none")
    client.get("/images/a")
    client.get("/images/b")
    client.get("/nothing")
    text = client.get("/metrics").text
    for line in (
        'darknet_torch_requests_total{route="/detect",status="200"} 1.0',
        'darknet_torch_requests_total{route="/detect",status="400"} 1.0',
        'darknet_torch_requests_total{route="/images/{key}",status="404"} 2.0',
        'darknet_torch_requests_total{route="other",status="404"} 1.0',
        'darknet_torch_images_total{model="small"} 1.0',
        'darknet_torch_batch_images_count{model="small"} 1.0',
        'darknet_torch_waiting_images{model="small"} 0.0',
        "darknet_torch_in_flight 0.0",
    ):
        assert line in text.splitlines()


def test_ready_and_not(small_network: Network) -> None:
    client = client_of(small_network)
    assert isinstance(client, TestClient)
    assert client.get("/ready").status_code == 503  # its threads have not begun
    assert client.get("/health").json()["status"] == "ok"
    with client:
        assert client.get("/ready").json() == {"ready": True}
