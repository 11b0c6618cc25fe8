"""What the addresses answer: the results of `detect` and `classify`, several models, errors."""

import json
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from small_server import LOW, client_of, photo
from small_videos import Finder
from starlette.testclient import TestClient

import darknet_torch as dt
from darknet_torch.heads.boxes import cxcywh_to_xyxy
from darknet_torch.inference.detector import Detector
from darknet_torch.network import Network, as_network
from darknet_torch.server import model
from darknet_torch.server.running import make_app

CLASSIFIER = """[net]
width=32
height=32
channels=3
[convolutional]
filters=4
size=3
stride=2
activation=leaky
[avgpool]
[softmax]
"""
SETTINGS = [
    {"threshold": 0.3},
    {"threshold": LOW, "nms": 0.2},
    {"threshold": LOW, "nms": 0},
    {"threshold": LOW, "nms": 0.3, "nms_kind": "diounms", "max_det": 3},
    {"threshold": LOW, "classes": ["bee"]},
    {"threshold": LOW, "agnostic": True, "nms": 0.3},
    {"threshold": LOW, "nms_kind": "objectness"},
]


def expected(network: Network, image: bytes, **settings) -> list[dict]:
    found = dt.detect(network, image, **settings)
    assert isinstance(found, dt.Detections)
    return found.to_dict()["detections"]


def test_detections_are_those_of_detect(client: TestClient, small_network: Network) -> None:
    """At once, and once more for an image that is kept: whatever the settings."""
    first = client.post("/detect", params={"keep": True}, content=photo()).json()
    counts = set()
    for settings in SETTINGS:
        wanted = expected(small_network, photo(), **settings)
        answer = client.post("/detect", params=settings, content=photo()).json()
        assert answer == {"model": "small", "width": 96, "height": 64, "detections": wanted}
        again = client.get(f"/images/{first['image']}", params=settings).json()
        assert again == {"image": first["image"], **answer}
        counts.add(len(wanted))
    assert len(counts) > 3


@pytest.mark.parametrize("letterbox", [True, False])
def test_the_way_an_image_is_resized(
    client: TestClient, small_network: Network, letterbox: bool
) -> None:
    params = {"threshold": LOW, "letterbox": letterbox, "keep": True}
    answer = client.post("/detect", params=params, content=photo()).json()
    wanted = expected(small_network, photo(), threshold=LOW, letterbox=letterbox)
    assert answer["detections"] == wanted
    again = client.get(f"/images/{answer['image']}", params={"threshold": LOW}).json()
    assert again["detections"] == wanted


def test_a_detector_is_made_once_for_the_same_settings(
    small_network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the images of several requests are postprocessed together."""
    made: list[dict[str, Any]] = []

    class Noted(Detector):
        def __init__(self, network: Network, **settings: Any) -> None:
            made.append(settings)
            super().__init__(network, **settings)

    monkeypatch.setattr(model, "Detector", Noted)
    with client_of(small_network) as client:
        made.clear()
        for params in ({"threshold": LOW, "classes": "bee,ant"}, {"threshold": LOW}) * 2:
            assert client.post("/detect", params=params, content=photo()).status_code == 200
    assert [each["classes"] for each in made] == [("bee", "ant"), None]


def test_a_form_as_curl_sends_it(client: TestClient) -> None:
    files = {"image": ("street.png", photo(), "image/png")}
    assert (
        client.post("/detect", files=files, data={"note": "x"}).json()
        == client.post("/detect", content=photo()).json()
    )


def test_coco_and_jpeg(client: TestClient, small_network: Network) -> None:
    found = dt.detect(small_network, photo(), threshold=LOW)
    assert isinstance(found, dt.Detections)
    params = {"threshold": LOW, "format": "coco", "image_id": 7}
    rows = client.post("/detect", params=params, content=photo()).json()
    assert rows == found.to_coco(7)
    assert len(rows) > 3
    response = client.post("/detect", params=params | {"format": "jpeg"}, content=photo())
    assert response.headers["content-type"] == "image/jpeg"
    file = BytesIO()
    found.draw(photo()).save(file, "JPEG", quality=90)
    assert response.content == file.getvalue()


def test_a_classifier_beside_a_detector(small_network: Network, monkeypatch) -> None:
    Path("class.cfg").write_text(CLASSIFIER)
    classifier = dt.build("class.cfg")
    with client_of(small_network, classifier) as client:
        params = {"model": "small1", "top": 2}
        answer = client.post("/classify", params=params, content=photo()).json()
        wanted = dt.classify(classifier, photo(), top=2).to_dict()
        assert answer == {"model": "small1", "classes": wanted["classes"]}
        kinds = [each["kind"] for each in client.get("/models").json()]
        assert kinds == ["detector", "classifier"]
        wrong = client.post("/detect", params={"model": "small1"}, content=photo())
        assert (wrong.status_code, wrong.json()) == (
            400,
            {"error": "small1 is a classifier: POST to /classify"},
        )
        wrong = client.post("/classify", content=photo())
        assert wrong.json() == {"error": "small is a detector: POST to /detect"}
        kept = client.post("/classify", params=params | {"keep": True}, content=photo()).json()
        assert client.get(f"/images/{kept['image']}").status_code == 400
        assert client.get(f"/images/{kept['image']}/layers/2").status_code == 200


def test_what_is_said_of_models(client: TestClient) -> None:
    (model,) = client.get("/models").json()
    assert model == {
        "name": "small",
        "kind": "detector",
        "input": {"channels": 3, "height": 64, "width": 64},
        "classes": ["ant", "bee"],
        "layers": 3,
        "maps": True,
        "threshold": 0.25,
        "nms": 0.45,
        "nms_kind": "default",
        "nms_kinds": ["default", "greedynms", "diounms", "objectness"],
        "letterbox": False,
    }
    table = client.get("/models/small/layers").json()
    assert [row["section"] for row in table["rows"]] == ["convolutional", "convolutional", "yolo"]
    assert table["parameters"] == dt.plan("net.cfg").floats


class Boxes:
    """A network that returns boxes and scores, as converted files do."""

    contents = "boxes"

    def __init__(self, network: Network) -> None:
        self.network = network

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def __call__(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        raws, heads = self.network(x), self.network.plan.head_layers
        parts = [head.decode(raw, (64, 64)) for head, raw in zip(heads, raws, strict=True)]
        boxes = torch.cat([cxcywh_to_xyxy(part.boxes) for part in parts], dim=1)
        return boxes, torch.cat([part.scores for part in parts], dim=1)


def test_a_network_and_a_converted_file(small_network: Network) -> None:
    with client_of(small_network, Boxes(small_network)) as client:
        for name in ("small", "small1"):
            params = {"model": name, "threshold": LOW, "keep": True}
            answer = client.post("/detect", params=params, content=photo()).json()
            wanted = expected(small_network, photo(), threshold=LOW)
            assert [each["class"] for each in answer["detections"]] == [
                each["class"] for each in wanted
            ]
            for mine, theirs in zip(answer["detections"], wanted, strict=True):
                assert mine["box"] == pytest.approx(theirs["box"], abs=0.05)
            maps = client.get(f"/images/{answer['image']}/layers/1")
            assert maps.status_code == (200 if name == "small" else 400)
        assert [each["maps"] for each in client.get("/models").json()] == [True, False]


def test_many_clients_at_once(client: TestClient, small_network: Network) -> None:
    """Each gets the boxes of its own image, though they are computed together."""
    images = [photo(40 + number, 60, seed=number) for number in range(24)]
    wanted = [expected(small_network, image, threshold=LOW) for image in images]

    def post(image: bytes) -> list[dict]:
        answer = client.post("/detect", params={"threshold": LOW}, content=image)
        return answer.json()["detections"]

    with ThreadPoolExecutor(12) as pool:
        for found, known in zip(pool.map(post, images), wanted, strict=True):
            assert [each["class"] for each in found] == [each["class"] for each in known]
            for mine, theirs in zip(found, known, strict=True):
                assert mine["box"] == pytest.approx(theirs["box"], abs=0.02)
    assert len({json.dumps(each) for each in wanted}) == 24


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("POST", "/detect?model=none", 404, "no such model; there are small"),
        ("POST", "/detect?threshold=2", 422, "threshold: "),
        ("POST", "/detect?threshold=0", 422, "threshold: "),
        ("POST", "/detect?threshold=nan", 422, "threshold: "),
        ("POST", "/detect?nms_kind=best", 422, "nms_kind: "),
        ("POST", "/detect?max_det=100000", 422, "max_det: "),
        ("POST", "/detect?classes=wasp", 400, "classes: 'wasp' is no class of this network"),
        ("POST", "/detect?classes=2", 400, "classes: 2 is no class"),
        ("POST", "/detect?format=exe", 422, "format: "),
        (
            "POST",
            "/detect?treshold=.5",
            422,
            "treshold: no such parameter; did you mean threshold?",
        ),
        ("POST", "/classify?threshold=.5", 422, "threshold: no such parameter"),
        ("GET", "/models?x=1", 422, "x: no such parameter"),
        ("GET", "/detect", 405, "Method Not Allowed"),
        ("GET", "/nothing", 404, "Not Found"),
        ("GET", "/page/..%2F..%2Fmodel.py", 404, "Not Found"),
        ("GET", "/page/app.py", 404, "no such file"),
        ("GET", "/images/unknown", 404, "this image is not here any more; upload it again"),
        ("GET", "/images/unknown/layers/0", 404, "this image is not here any more"),
        ("GET", "/models/none/layers", 404, "no such model"),
    ],
)
def test_wrong_requests(client, method: str, path: str, status: int, message: str) -> None:
    response = client.request(method, path, content=photo() if method == "POST" else None)
    assert response.status_code == status
    assert response.json()["error"].startswith(message)
    assert "\n" not in response.json()["error"]


def test_a_failure_inside_is_an_answer(client, small_network, monkeypatch, caplog) -> None:
    """The next request is answered as if nothing had been."""

    def fail(*_: object) -> None:
        raise RuntimeError("secret: not enough memory")

    with monkeypatch.context() as broken:
        broken.setattr(type(small_network), "forward", fail)
        response = client.post("/detect", content=photo())
    assert response.status_code == 500
    assert response.json() == {"error": "the server failed; its log has the reason"}
    assert "not enough memory" in caplog.text
    assert client.post("/detect", content=photo()).status_code == 200


def test_images_are_forgotten_in_time(client: TestClient) -> None:
    client.app.state.kept.most_bytes = 400_000
    params = {"keep": True}
    keys = [
        client.post("/detect", params=params, content=photo()).json()["image"] for _ in range(20)
    ]
    statuses = [client.get(f"/images/{key}").status_code for key in keys]
    assert statuses[-1] == 200
    assert statuses[0] == 404
    assert statuses == sorted(statuses, reverse=True)
    assert len(set(keys)) == 20


def test_networks_that_cannot_be_served() -> None:
    with pytest.raises(dt.DarknetError, match="no model to serve"):
        client_of()
    with pytest.raises(dt.DarknetError, match="'a/b': the name of a model"):
        make_app({"a/b": dt.build("yolov3-tiny", width=32, height=32)})
    recurrent = "[net]\ninputs=4\nbatch=1\n[rnn]\noutput=4\nhidden=4\n[softmax]\n"
    with pytest.raises(dt.DarknetError, match="small: its recurrent layers keep a state"):
        client_of(as_network(dt.build(recurrent)))


def test_a_model_has_computed_before_the_server_is_ready() -> None:
    """Where it is compiled, no request waits for that."""
    finder = Finder()
    with client_of(finder) as client:
        assert finder.batches == [1]
        assert client.get("/ready").status_code == 200


def test_a_model_that_cannot_compute_does_not_end_the_server(caplog) -> None:
    class Broken(Finder):
        def __call__(self, x: torch.Tensor, /) -> NoReturn:
            raise RuntimeError("out of order")

    with client_of(Broken()) as client:
        assert client.get("/ready").status_code == 200
        assert client.post("/detect", content=photo()).status_code == 500
    assert "small cannot compute" in caplog.text
