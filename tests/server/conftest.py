"""A client of a server of the small network."""

from collections.abc import Iterator

import pytest
from small_server import client_of
from starlette.testclient import TestClient

from darknet_torch.network import Network


@pytest.fixture
def client(small_network: Network) -> Iterator[TestClient]:
    with client_of(small_network) as client:
        yield client
