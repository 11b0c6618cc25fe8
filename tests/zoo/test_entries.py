"""What entries say of themselves: their digest, their name in the cache, what the network is."""

import pytest

from darknet_torch.zoo.entries import (
    Backbone,
    RemoteFile,
    describe,
    read_backbones,
    read_files,
    read_models,
)


def test_names_are_those_of_the_entries() -> None:
    for entries in (read_models(), read_backbones(), read_files()):
        assert entries
        assert all(name == entry.name for name, entry in entries.items())
    assert not set(read_models()) & set(read_backbones())
    assert read_models()["grrm"].filename == "grrm.weights"
    assert read_backbones()["darknet53.conv.74"].filename == "darknet53.conv.74"
    assert isinstance(read_backbones()["darknet53.conv.74"], Backbone)


@pytest.mark.parametrize(
    ("digests", "expected"),
    [
        ({}, None),
        ({"sha1": "1"}, "sha1:1"),
        ({"sha1": "1", "sha256": "2"}, "sha256:2"),
        ({"sha1": "1", "sha256": "2", "sha512": "3"}, "sha512:3"),
    ],
)
def test_the_strongest_digest_counts(digests: dict[str, str], expected: str | None) -> None:
    assert RemoteFile(name="x", sources=(), bytes=(1,), **digests).digest == expected


def test_what_a_network_is() -> None:
    assert describe("yolov4-tiny") == (
        "The small YOLOv4 for the 80 classes of COCO: three CSP blocks and heads on two scales."
    )
    assert describe("yolov4-p6").endswith("all mish, heads on four scales.")
    for model in read_models().values():
        assert 30 < len(describe(model.cfg)) < 200
