"""Applications with the small network, asked without sockets, and the images to send to them."""

from contextlib import AbstractContextManager
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from darknet_torch.network import Runnable
from darknet_torch.server.running import make_app

__all__ = ["LOW", "client_of", "photo"]

LOW = 0.15
"""A threshold above which the small network, untrained, has some detections."""


def photo(width: int = 96, height: int = 64, kind: str = "PNG", seed: int = 0) -> bytes:
    """Return the file of an image of coloured squares."""
    squares = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
    file = BytesIO()
    Image.fromarray(squares).resize((width, height)).save(file, kind)
    return file.getvalue()


def client_of(*networks: Runnable, **settings: Any) -> AbstractContextManager[TestClient]:
    """Return a client of a server of networks: small, small1, ...; it runs inside the context."""
    models = {f"small{number or ''}": network for number, network in enumerate(networks)}
    return TestClient(make_app(models, **settings), raise_server_exceptions=False)
