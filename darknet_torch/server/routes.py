"""The addresses that take images, and those about models."""

import asyncio
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from io import BytesIO
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response

from darknet_torch.inference.detections import Detections
from darknet_torch.safety.text import to_json
from darknet_torch.server.batcher import Batcher, Computed, Job
from darknet_torch.server.kept import KeptImage, KeptImages
from darknet_torch.server.limits import Upload, Uploads
from darknet_torch.server.maps import layer_maps, maps_picture
from darknet_torch.server.model import ServedModel

__all__ = ["Routes"]

LOWEST = 0.001
"""Threshold below which every box of a network could be a detection."""
MOST = 1000
"""Most detections of an image, unless the request says otherwise."""
Format = Literal["json", "jpeg", "coco"]
Fraction = Annotated[float, Query(ge=0, le=1)]


async def detection_settings(
    threshold: Annotated[float | None, Query(ge=LOWEST, le=1)] = None,
    nms: Fraction = 0.45,
    nms_kind: Literal["default", "greedynms", "diounms", "objectness"] | None = None,
    hier_threshold: Fraction = 0.5,
    classes: Annotated[list[str], Query()] = [],  # noqa: B006 (FastAPI copies it)
    max_det: Annotated[int, Query(ge=1, le=10_000)] = MOST,
    agnostic: bool = False,
) -> dict[str, Any]:
    """Return the settings of a detector in a query, but for those of reading the image."""
    chosen = [_name_or_number(word) for text in classes for word in text.split(",") if word]
    return {
        "threshold": threshold,
        "nms": nms,
        "nms_kind": nms_kind,
        "hier_threshold": hier_threshold,
        "classes": tuple(chosen) or None,
        "max_det": max_det,
        "agnostic": agnostic,
    }


def _name_or_number(word: str) -> str | int:
    return int(word) if word.isascii() and word.isdecimal() and len(word) < 10 else word


Settings = Annotated[dict[str, Any], Depends(detection_settings)]


async def refuse_unknown(path: str, request: Request) -> None:
    """Raise HTTPException where the query has a parameter that the address does not take.

    Args:
        path: the address, as it was added to the application.
        request: to that address.
    """
    described = request.app.openapi()["paths"][path][request.method.lower()]
    parameters = described.get("parameters", [])
    known = [each["name"] for each in parameters if each["in"] == "query"]
    for name in request.query_params:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise HTTPException(422, f"{name}: no such parameter{hint}")


class Routes:
    """The addresses of models and images.

    Args:
        models: by their names, the default first.
        batchers: of the models.
        uploads: the images in flight.
        kept: the images that were uploaded last.
    """

    def __init__(
        self,
        models: Mapping[str, ServedModel],
        batchers: Mapping[str, Batcher],
        uploads: Uploads,
        kept: KeptImages,
    ) -> None:
        self.models, self.batchers, self.uploads, self.kept = models, batchers, uploads, kept

    def add_to(self, app: FastAPI) -> None:
        """Add all addresses to an application."""
        gets: dict[str, Callable[..., Any]] = {
            "/models": self.list_models,
            "/models/{name}/layers": self.layers,
            "/images/{key}": self.again,
            "/images/{key}/layers/{index}": self.maps,
        }
        posts: dict[str, Callable[..., Any]] = {"/detect": self.detect, "/classify": self.classify}
        for method, routes in (("GET", gets), ("POST", posts)):
            for path, answer in routes.items():
                app.add_api_route(
                    path,
                    answer,
                    methods=[method],
                    response_model=None,
                    dependencies=[Depends(partial(refuse_unknown, path))],
                )

    async def list_models(self) -> list[dict[str, Any]]:
        """Describe the networks, the default first."""
        return [model.description() for model in self.models.values()]

    async def layers(self, name: str) -> dict[str, Any]:
        """Return the table of a network's layers."""
        return self._model(name).layers()

    async def detect(
        self,
        request: Request,
        settings: Settings,
        model: str | None = None,
        format: Format = "json",  # noqa: A002 (the name in the address)
        letterbox: bool | None = None,
        image_id: int = 0,
        keep: bool = False,
    ) -> Response:
        """Detect the objects in the image of the body, or of a form."""
        served = self._model(model)
        detector = served.detector(**settings, letterbox=letterbox)

        def answer(computed: Computed, source: Upload) -> Response:
            if keep:
                key = self.kept.put(KeptImage(served.name, computed, detector.letterbox))
                return _json({"image": key, **_detected(served.name, computed.result)})
            return _in_format(format, served.name, computed.result, source, image_id)

        async with self.uploads.received(request) as source:
            job = Job(source, detector, lambda computed: answer(computed, source), keep)
            return await self._result(served.name, job)

    async def classify(
        self,
        request: Request,
        model: str | None = None,
        top: Annotated[int, Query(ge=1, le=MOST)] = 5,
        letterbox: bool | None = None,
        leaves: bool = True,
        keep: bool = False,
    ) -> Response:
        """Return the most probable classes of the image of the body, or of a form."""
        served = self._model(model)
        classifier = served.classifier(top=top, letterbox=letterbox, leaves=leaves)

        def answer(computed: Computed) -> Response:
            image = {}
            if keep:
                kept = KeptImage(served.name, computed, classifier.letterbox)
                image = {"image": self.kept.put(kept)}
            content = computed.result.to_dict()
            return _json({**image, "model": served.name, "classes": content["classes"]})

        async with self.uploads.received(request) as source:
            return await self._result(served.name, Job(source, classifier, answer, keep))

    async def again(self, key: str, settings: Settings) -> Response:
        """Return the detections of an image that was kept, with other settings."""
        kept = self._kept(key)
        detector = self._model(kept.model).detector(**settings, letterbox=kept.letterbox)
        computed = kept.computed

        def work() -> Response:
            (found,) = detector.postprocess(computed.outputs, [computed.image])
            return _json({"image": key, **_detected(kept.model, found)})

        async with self.uploads.place():
            return await self._in_time(asyncio.to_thread(work))

    async def maps(self, key: str, index: int, first: Annotated[int, Query(ge=0)] = 0) -> Response:
        """Return the maps of a layer for an image that was kept, as PNG."""
        kept = self._kept(key)
        network = self._model(kept.model).network

        def work() -> Response:
            maps = layer_maps(network, kept.computed.image, index)
            shape = ",".join(map(str, maps.shape))
            return Response(maps_picture(maps, first), 200, {"X-Shape": shape}, "image/png")

        async with self.uploads.place():
            return await self._in_time(asyncio.to_thread(work))

    def _model(self, name: str | None) -> ServedModel:
        """Return a model by its name; the first one for None."""
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise HTTPException(404, f"no such model; there are {', '.join(self.models)}")
        return self.models[name]

    def _kept(self, key: str) -> KeptImage:
        kept = self.kept.get(key)
        if kept is None:
            raise HTTPException(404, "this image is not here any more; upload it again")
        return kept

    async def _result(self, model: str, job: Job) -> Response:
        """Let a job be computed."""
        return await self._in_time(asyncio.wrap_future(self.batchers[model].submit(job)))

    async def _in_time(self, work: Any) -> Response:
        """Wait for a response; what has not begun when the time is over never does."""
        seconds = self.uploads.limits.timeout
        try:
            async with asyncio.timeout(seconds):
                response: Response = await work
                return response
        except TimeoutError:
            raise HTTPException(504, f"no result within {seconds:g} seconds") from None


def _detected(model: str, detections: Detections) -> dict[str, Any]:
    content = detections.to_dict()
    del content["path"]  # an upload has none
    return {"model": model, **content}


def _in_format(
    kind: Format, model: str, detections: Detections, source: Upload, image_id: int
) -> Response:
    """Return detections as JSON, as rows of COCO, or drawn on their image."""
    if kind == "json":
        return _json(_detected(model, detections))
    if kind == "coco":
        return _json(detections.to_coco(image_id))
    file = BytesIO()
    detections.draw(source).save(file, "JPEG", quality=90)
    return Response(file.getvalue(), media_type="image/jpeg")


def _json(content: Any) -> Response:
    return Response(to_json(content), media_type="application/json")
