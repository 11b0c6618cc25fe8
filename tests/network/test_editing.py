"""Networks cut off, and with other classes; and Darknet's files written from what was changed."""

import re
from pathlib import Path
from typing import cast

import keys
import pytest
import torch
from torch import Tensor

import darknet_torch as dt
from darknet_torch.errors import UsageError
from darknet_torch.heads.base import Head
from darknet_torch.network import Header, Network
from darknet_torch.network.editing import cut, with_classes, with_options

NET = "[net]\nwidth=32\nheight=32\nchannels=3\n"
CONV = "[convolutional]\nfilters={}\nsize=1\nactivation=linear\n"
BODY = "[convolutional]\nfilters=6\nsize=3\nstride=4\npad=1\nbatch_normalize=1\nactivation=leaky\n"
ANCHORS = "num=6\nanchors=1,2,3,4,5,6,7,8,9,10,11,12\n"
YOLO = f"[yolo]\nmask={{}}\nclasses=3\n{ANCHORS}"

TWO_HEADS = (
    NET + BODY + CONV.format(16) + YOLO.format("0,1") + "[route]\nlayers=0\n" + CONV.format(24)
) + YOLO.format("3,4,5")
# the convolution before the second head does not stand before it, and more stands between
WIRED = (
    NET + BODY + CONV.format(24) + "[route]\nlayers=0\n" + CONV.format(16) + "[dropout]\n"
    "[upsample]\nstride=2\n"
    + YOLO.format("0,1")
    + "[route]\nlayers=1\n[maxpool]\nsize=3\nstride=1\n"
) + YOLO.format("3,4,5")
GAUSSIAN = NET + BODY + CONV.format(24) + f"[Gaussian_yolo]\nmask=0,1\nclasses=3\n{ANCHORS}"
REGION = NET + BODY + CONV.format(16) + "[region]\nanchors=1,2,3,4\nnum=2\nclasses=3\nsoftmax=1\n"
NORMALIZED = REGION.replace("size=1\n", "size=1\nbatch_normalize=1\n")
V1 = (
    NET + BODY + "[connected]\noutput=208\nactivation=linear\n[dropout]\n"
    "[detection]\nclasses=3\ncoords=4\nside=4\nnum=2\nsqrt=1\nsoftmax={}\n"
)
DETECTORS = {
    "two heads": TWO_HEADS,
    "wired": WIRED,
    "gaussian": GAUSSIAN,
    "region": REGION,
    "batch norm": NORMALIZED,
    "v1": V1.format(0),
    "v1 softmax": V1.format(1),
}
CLASSIFIER = NET + BODY + CONV.format(5) + "[avgpool]\n[softmax]\n[cost]\ntype=sse\n"


def built(cfg: str, dialect: str = "alexeyab") -> Network:
    """Random values everywhere, of batch norm too."""
    network = dt.build(cfg, dialect=dialect)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape) * 0.3)
                if name.endswith("var"):
                    tensor.abs_().add_(0.1)
    network.header, network.names = Header(0, 2, 5, 640), ("a", "b", "c")
    return network


def predictions(network: Network, x: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Boxes, objectness and scores of each head."""
    raw = network(x)
    assert isinstance(raw, tuple)
    heads = [cast(Head, network.plan[index].layer) for index in network.plan.heads]
    decoded = [h.decode(r, (x.shape[2], x.shape[3])) for h, r in zip(heads, raw, strict=True)]
    return [(each.boxes, each.objectness, each.scores) for each in decoded]


# ---- other classes


@pytest.mark.parametrize("classes", [1, 2, 3, 7])
@pytest.mark.parametrize("name", DETECTORS)
def test_boxes_and_objectness_stay(name: str, classes: int) -> None:
    network, x = built(DETECTORS[name]), torch.rand(2, 3, 32, 32)
    changed = with_classes(network, classes)
    for mine, theirs in zip(predictions(changed, x), predictions(network, x), strict=True):
        torch.testing.assert_close(mine[0], theirs[0])
        torch.testing.assert_close(mine[1], theirs[1])
        assert mine[2].shape == (*theirs[2].shape[:2], classes)
        if classes == 3:  # they start anew
            assert not torch.allclose(mine[2], theirs[2])


@pytest.mark.parametrize("dialect", ["pjreddie", "alexeyab"])
def test_the_region_of_each_fork(dialect: str) -> None:
    network, x = (
        built(REGION.replace("classes=3", "classes=3\ncoords=4"), dialect),
        torch.rand(1, 3, 32, 32),
    )
    pairs = zip(predictions(with_classes(network, 9), x), predictions(network, x), strict=True)
    for mine, theirs in pairs:
        torch.testing.assert_close(mine[:2], theirs[:2])


@pytest.mark.parametrize("name", DETECTORS)
def test_all_else_is_copied(name: str) -> None:
    network = built(DETECTORS[name])
    before = {k: v.clone() for k, v in network.state_dict().items()}
    changed = with_classes(network, 7)
    after, differing = changed.state_dict(), set()
    for key, tensor in before.items():
        if after[key].shape != tensor.shape:
            differing.add(int(key.split(".")[1]))
        else:
            assert torch.equal(after[key], tensor), key
    products = {node.index for node in network.plan if node.tensors and node.index}
    assert differing == products
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.add_(1)
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert changed.header == network.header
    assert changed.names == ()
    assert all(parameter.requires_grad for parameter in changed.parameters())


def test_new_classes_start_as_in_a_new_network() -> None:
    """Weights as wide as `build` makes them, biases 0; a batch norm that does nothing."""
    wide = REGION.replace("filters=6", "filters=200").replace(
        "size=1\n", "size=1\nbatch_normalize=1\n"
    )
    state = with_classes(built(wide), 500).state_dict()
    rows = [a * 505 + 5 + c for a in range(2) for c in range(500)]
    weight = state["layers.1.conv.weight"][rows]
    assert abs(float(weight.std()) / (2 / 200) ** 0.5 - 1) < 0.02
    assert not state["layers.1.bn.bias"][rows].any()
    assert not state["layers.1.bn.running_mean"][rows].any()
    for name in ("weight", "running_var"):
        assert (state[f"layers.1.bn.{name}"][rows] == 1).all()


OFFICIAL = {  # cfg: filters for 2 classes, by the formulas of Darknet's manual
    "yolov2-tiny-voc": [5 * 7],
    "yolov3": [3 * 7] * 3,
    "yolov3-tiny": [3 * 7] * 2,
    "yolov3-spp": [3 * 7] * 3,
    "yolov4": [3 * 7] * 3,
    "yolov4-csp": [3 * 7] * 3,
    "yolov4-tiny": [3 * 7] * 2,
    "yolov7-tiny": [3 * 7] * 3,
    "yolov1-tiny": [7 * 7 * (2 * 5 + 2)],
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_cfgs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines that change are those that Darknet's manual names; no values needed."""
    old = dt.plan(name)
    monkeypatch.setattr(
        "darknet_torch.network.editing.rebuilt", lambda network, plan, renew: Bare(plan)
    )
    new = with_classes(Bare(old), 2).plan  # type: ignore[arg-type]
    changed = []
    for mine, theirs in zip(new.sections[1:], old.sections[1:], strict=True):
        pairs = {(o.key, o.value) for o in mine.options} - {
            (o.key, o.value) for o in theirs.options
        }
        changed += [(mine.name, *pair) for pair in pairs]
    products = [int(value or 0) for _, key, value in changed if key != "classes"]
    assert products == OFFICIAL[name]
    classes = [(section, value) for section, key, value in changed if key == "classes"]
    assert [section for section, _ in classes] == [old[i].name for i in old.heads]
    assert {value for _, value in classes} == {"2"}
    assert [node.index for node in new if node.index in new.heads] == list(old.heads)


class Bare:
    """A network without tensors."""

    def __init__(self, plan: object) -> None:
        self.plan, self.names, self.loaded = plan, (), 0


def test_a_classifier() -> None:
    network, x = built(CLASSIFIER), torch.rand(2, 3, 32, 32)
    changed = with_classes(network, 4, ("w", "x", "y", "z"))
    assert changed(x).shape == (2, 4)
    assert changed.names == ("w", "x", "y", "z")
    torch.testing.assert_close(changed.activations(x)[0], network.activations(x)[0])
    connected = CLASSIFIER.replace(CONV.format(5), "[connected]\noutput=5\n").replace(
        "[avgpool]\n", ""
    )
    assert with_classes(built(connected), 9)(x).shape == (2, 9)


def test_saved_and_read_again(tmp_path: Path) -> None:
    for name, cfg in DETECTORS.items():
        changed = with_classes(built(cfg), 2, ("one", "two"))
        dt.export(changed, tmp_path / "x.weights")
        again = dt.load(tmp_path / "x.cfg", tmp_path / "x.weights")
        assert again.names == ("one", "two")
        mine, theirs = again.state_dict(), changed.state_dict()
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs), name
        assert again.header == (0, 2, 5, 640)
        (tmp_path / "x.cfg").unlink()


def test_the_size_of_the_input_stays() -> None:
    network = dt.build(REGION, width=64, height=48)
    assert with_classes(network, 5).input_size == (64, 48)


def test_stale_options_go() -> None:
    cfg = TWO_HEADS.replace("classes=3\n", "counters_per_class=9,8,7\nclasses=3\nclasses=4\n", 1)
    text = with_classes(built(cfg), 2).plan.text
    assert "counters_per_class" not in text
    assert re.findall(r"classes=\d+", text) == ["classes=2", "classes=2"]


def test_a_file_with_fewer_filters(tmp_path: Path) -> None:
    """The changed layer is written whole."""
    cfg = REGION.replace("filters=16", "filters=16\nnumload=3")
    changed = with_classes(built(cfg, "pjreddie"), 2)
    assert "numload" not in changed.plan.text
    assert changed.plan.floats == 6 * 27 + 4 * 6 + 14 * 7


def test_an_option_that_stood_at_its_default() -> None:
    cfg = NET + BODY + CONV.format(50) + "[region]\nanchors=1,2,3,4\nnum=2\n"
    assert with_classes(built(cfg), 2).plan.text.endswith("num=2\nclasses=2\n")


LOST = {
    "grouped": (REGION.replace("filters=16", "filters=16\ngroups=2"), "has groups of channels"),
    "read twice": (
        REGION + "[route]\nlayers=1\n" + CONV.format(3),
        "layer 1 [convolutional]: classes cannot be changed: it feeds layer 3 [route] too",
    ),
    "shared": (
        NET + BODY + CONV.format(16) + "[route]\nlayers=0\n[convolutional]\nshare_index=1\n"
        "filters=16\nsize=1\nactivation=linear\n[region]\nnum=2\nclasses=3\n",
        "layer 3 [convolutional]: classes cannot be changed: it shares its weights",
    ),
    "sum": (
        NET + BODY + CONV.format(16) + CONV.format(16) + "[shortcut]\nfrom=-2\n"
        "[region]\nnum=2\nclasses=3\n",
        "[connected] must be before the classes, not layer 3 [shortcut]",
    ),
    "depth": (
        NET + BODY + CONV.format(64) + "[reorg]\nstride=2\nreverse=1\n[region]\nnum=2\nclasses=3\n",
        "must be before the classes, not layer 2 [reorg]",
    ),
    "image": (NET + "[avgpool]\n[softmax]\n", "must be before the classes, not the image"),
    "v1 on a map": (
        NET
        + BODY.replace("stride=4", "stride=8")
        + CONV.format(13)
        + "[detection]\nclasses=3\ncoords=4\nside=4\nnum=2\n",
        "layer 1 [convolutional]: classes cannot be changed: it gives 4 x 4 x 13",
    ),
}


@pytest.mark.parametrize("name", LOST)
def test_what_cannot_be(name: str) -> None:
    cfg, message = LOST[name]
    with pytest.raises(UsageError) as caught:
        with_classes(built(cfg), 2)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_word_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKNET_TORCH_CACHE", str(keys.GOLDEN))
    tree = len((keys.GOLDEN / "mini.tree").read_text().split("\n")) - 1
    head = f"[region]\nnum=2\nclasses={tree}\ntree=mini.tree\n"
    with pytest.raises(UsageError, match=r"layer 2 \[region\].*has a word tree of the old classes"):
        with_classes(built(NET + BODY + CONV.format(2 * (5 + tree)) + head), 2)
    classifier = NET + BODY + CONV.format(tree) + "[avgpool]\n[softmax]\ntree=mini.tree\n"
    with pytest.raises(
        UsageError, match=r"layer 3 \[softmax\].*has a word tree of the old classes"
    ):
        with_classes(built(classifier), 2)


def test_class_maps() -> None:
    mapped = REGION.replace("softmax=1", "map=some.map")
    with pytest.raises(UsageError, match=r"layer 2 \[region\].*has a class map of the old classes"):
        with_classes(built(mapped), 2)


def test_class_counts_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="classes=0: must be at least 1"):
        with_classes(built(REGION), 0)
    with pytest.raises(UsageError, match="2 names for 3 classes"):
        with_classes(built(REGION), 3, ("a", "b"))
    with pytest.raises(UsageError, match="no values yet"):
        with_classes(Network(dt.plan(REGION)), 3)


# ---- cut


@pytest.mark.parametrize("layers", [1, 2, 3, 4, 6])
def test_cut(layers: int, tmp_path: Path) -> None:
    network, x = built(TWO_HEADS), torch.rand(2, 3, 32, 32)
    part = cut(network, layers)
    assert len(part.plan) == layers
    for mine, theirs in zip(part.activations(x), network.activations(x), strict=False):
        assert torch.equal(mine, theirs)
    network.header = network.header._replace(seen=0)
    dt.save(network, tmp_path / "expected.weights", cutoff=layers)
    network.header = part.header
    dt.export(network, tmp_path / "x.weights", cutoff=layers)
    assert (tmp_path / "x.weights").read_bytes() == (tmp_path / "expected.weights").read_bytes()
    again = dt.load(tmp_path / "x.cfg", tmp_path / "x.weights")
    for mine, theirs in zip(again.activations(x), part.activations(x), strict=True):
        assert torch.equal(mine, theirs)
    assert part.header == network.header


def test_what_a_backbone_returns() -> None:
    network, x = built(TWO_HEADS), torch.rand(2, 3, 32, 32)
    backbone = cut(network, 2)
    assert torch.equal(cast(Tensor, backbone(x)), network.activations(x)[1])
    assert backbone.names == ()
    one_head = cut(network, 3)
    assert torch.equal(one_head(x)[0], network(x)[0])
    assert len(one_head(x)) == 1
    assert one_head.names == network.names


@pytest.mark.parametrize("layers", [0, -1, 7])
def test_cut_out_of_range(layers: int) -> None:
    with pytest.raises(UsageError, match=f"cutoff={layers}: the network has layers 1 to 6"):
        cut(built(TWO_HEADS), layers)


@pytest.mark.parametrize("name", keys.mini_names())
def test_every_kind_of_layer_can_be_cut(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a whole, and without its last layer."""
    monkeypatch.setenv("DARKNET_TORCH_CACHE", str(keys.GOLDEN))
    key = keys.mini(name)
    key.write_weights(tmp_path / "w")
    network = key.load(tmp_path / "w")
    dt.save(cut(network, len(network.plan)), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "w").read_bytes()
    if (layers := len(network.plan) - 1) > 0:
        part = cut(network, layers)
        for mine, theirs in zip(key.compute(part), key.compute(network), strict=False):
            assert keys.relative_error(mine, theirs) < 1e-6


def test_layers_that_share_still_do() -> None:
    cfg = NET + "[convolutional]\nfilters=3\n[convolutional]\nfilters=3\nshare_index=0\n[silence]\n"
    part = cut(built(cfg), 2)
    names = [f"layers.{index}.conv.weight" for index in (0, 1)]
    assert part.get_parameter(names[0]) is part.get_parameter(names[1])


# ---- Darknet's own files


def test_export(tmp_path: Path) -> None:
    network, x = built(TWO_HEADS), torch.rand(2, 3, 32, 32)
    dt.export(network, tmp_path / "all.weights", fuse=True, classes=2, cutoff=5)
    assert {path.name for path in tmp_path.iterdir()} == {"all.weights", "all.cfg"}
    again = dt.load(tmp_path / "all.cfg", tmp_path / "all.weights")
    assert "batch_normalize" not in again.plan.text
    assert "classes=2" in again.plan.text
    assert len(again.plan) == 5
    torch.testing.assert_close(again.activations(x)[0], network.activations(x)[0])
    dt.export(network, tmp_path / "b.weights")
    assert (tmp_path / "b.names").read_text() == "a\nb\nc\n"
    with pytest.raises(UsageError, match="as_detector: is a way to fold batch norm"):
        dt.export(network, tmp_path / "b.weights", as_detector=True)


def test_the_cfg_that_was_read_is_not_overwritten(tmp_path: Path) -> None:
    cfg, weights = tmp_path / "my.cfg", tmp_path / "my.weights"
    text = "# my own words\n" + REGION.replace("filters=6", "filters = 6")
    cfg.write_text(text)
    network = dt.build(cfg)
    dt.export(network, weights)
    assert cfg.read_text() == text
    before = weights.read_bytes()
    for options in ({"fuse": True}, {"cutoff": 1}, {"classes": 2}):
        with pytest.raises(UsageError, match=r"my.cfg: is what the network was read from"):
            dt.export(network, weights, **options)
    with pytest.raises(UsageError, match=r"my.cfg: is what the network was read from"):
        dt.export(dt.build(cfg, width=64, height=64), weights)
    assert (cfg.read_text(), weights.read_bytes()) == (text, before)
    dt.export(network, tmp_path / "other.weights", fuse=True)
    dt.export(network, tmp_path / "other.weights", fuse=True)


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "x.cfg").mkdir()
    with pytest.raises(UsageError, match=r"x.cfg: cannot be written"):
        dt.export(built(REGION), tmp_path / "x.weights")


def test_options_of_a_section_and_of_net_are_changed() -> None:
    network = dt.build("yolov3-tiny", width=64, height=96, dialect="alexeyab")
    options = {"learning_rate": 0.02, "mosaic": True, "yolo.ignore_thresh": 0.25}
    changed = with_options(network, options)
    assert (changed.plan.net.learning_rate, changed.plan.net.mosaic) == (0.02, True)
    assert {head.ignore_thresh for head in changed.plan.head_layers} == {0.25}  # type: ignore[attr-defined]
    assert changed.plan.input == network.plan.input
    x = torch.rand(1, 3, 96, 64)
    for a, b in zip(network(x), changed(x), strict=True):
        assert torch.equal(a, b)
    larger = with_options(network, {"width": 128, "height": 128})
    assert (larger.plan.input.w, larger.plan.input.h) == (128, 128)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"learning_rat": 1},
            "learning_rat: no such option of the cfg; did you mean learning_rate",
        ),
        ({"yolo.ignore_tresh": 1}, "did you mean yolo.ignore_thresh?"),
        ({"mosaic": 1}, "mosaic: the pjreddie fork has no such option"),
        ({"regio.thresh": 1}, r"regio.thresh: the cfg has no section \[regio\]"),
    ],
)
def test_options_that_there_are_not(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        with_options(dt.build("yolov3-tiny", width=32, height=32), options)
