"""The network descriptions in cfg/: the same networks as Darknet's own files, in our own hand."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CFG = ROOT / "cfg"
OFFICIAL = ROOT.parent / "shared" / "oracle" / "official_cfg"

# name: (fork whose file it mirrors, values in the weights file)
KNOWN = {
    "yolov1-tiny": ("pjreddie", 27099950),
    "yolov2": ("pjreddie", 50983561),
    "yolov2-voc": ("pjreddie", 50676061),
    "yolov2-tiny": ("pjreddie", 11237145),
    "yolov2-tiny-voc": ("pjreddie", 15867885),
    "yolo9000": ("pjreddie", 48807501),
    "darknet19": ("pjreddie", 20856776),
    "darknet19_448": ("pjreddie", 20856776),
    "darknet53": ("pjreddie", 41645640),
    "yolov3": ("pjreddie", 62001757),
    "yolov3-tiny": ("pjreddie", 8858734),
    "yolov3-spp": ("pjreddie", 63052381),
    "yolov4": ("alexeyab", 64429405),
    "yolov4-tiny": ("alexeyab", 6062814),
    "yolov4-csp": ("alexeyab", 52986205),
    "yolov7-tiny": ("alexeyab", 6241885),
    "yolov7": ("alexeyab", 36974557),
    "yolov3-voc": ("pjreddie", 61678657),
    "yolov3-openimages": ("pjreddie", 64807342),
    "yolov3-tiny-prn": ("alexeyab", 4939758),
    "enet-coco": ("alexeyab", 4808270),
    "csresnext50-panet-spp": ("alexeyab", 57030845),
    "csresnext50-panet-spp-original-optimal": ("alexeyab", 57030845),
    "yolov4-csp-swish": ("alexeyab", 52986205),
    "yolov4-csp-x-swish": ("alexeyab", 99847037),
    "yolov4x-mish": ("alexeyab", 99847037),
    "yolov4-p5": ("alexeyab", 70917468),
    "yolov4-p6": ("alexeyab", 127717040),
    "yolov7x": ("alexeyab", 71409685),
    "yolov1": ("pjreddie", 197328243),
    "alexnet": ("pjreddie", 62378344),
    "darknet": ("pjreddie", 7323480),
    "tiny": ("pjreddie", 1046488),
    "vgg-16": ("pjreddie", 138357544),
    "extraction": ("pjreddie", 23455400),
    "resnet18": ("pjreddie", 11523496),
    "resnet34": ("pjreddie", 21639080),
    "resnet50": ("pjreddie", 22825896),
    "resnet101": ("pjreddie", 41870248),
    "resnet152": ("pjreddie", 57559976),
    "resnext50": ("pjreddie", 22312872),
    "resnext101-32x4d": ("pjreddie", 41639208),
    "resnext152-32x4d": ("pjreddie", 56730920),
    "densenet201": ("pjreddie", 17206440),
    "darknet53_448": ("pjreddie", 41645640),
    "strided": ("pjreddie", 85583400),
    "csdarknet53-omega": ("alexeyab", 27677512),
    "vgg-conv": ("pjreddie", 14714688),
    "jnet-conv": ("pjreddie", 18870048),
    "go": ("pjreddie", 7093761),
    "rnn": ("pjreddie", 8950016),
}

STAGE = r"(?m)^# --- .+ \(layers? (\d+)(?:-(\d+))?\)$"

ALIASES = {"conv": "convolutional", "conn": "connected", "max": "maxpool", "avg": "avgpool"}
ALIASES |= {"soft": "softmax", "network": "net"}

# what a key means when it is absent; None: absent in one file must be absent in the other
DEFAULTS = {
    "net": {"momentum": "0.9", "power": "4", "burn_in": "0", "angle": "0", "aspect": "1",
            "saturation": "1", "exposure": "1", "hue": "0", "mosaic": "0", "cutmix": "0",
            "letter_box": "0", "ema_alpha": "0", "policy": "constant", "adam": "0", "flip": "1"},
    "convolutional": {"filters": "1", "size": "1", "stride": "1", "groups": "1",
                      "batch_normalize": "0", "activation": "logistic", "dilation": "1"},
    "connected": {"output": "1", "activation": "logistic", "batch_normalize": "0"},
    "maxpool": {"stride": "1"},
    "upsample": {"stride": "2", "scale": "1"},
    "route": {"groups": "1", "group_id": "0"},
    "reorg": {"stride": "1", "reverse": "0"},
    "shortcut": {"activation": "linear"},
    "softmax": {"groups": "1", "temperature": "1"},
    "local": {"filters": "1", "size": "1", "stride": "1", "pad": "0", "activation": "logistic"},
    "crop": {"flip": "0", "angle": "0", "saturation": "1", "exposure": "1", "shift": "0"},
    "detection": {"rescore": "0", "softmax": "0", "sqrt": "0", "forced": "0", "jitter": "0.2",
                  "random": "0", "coord_scale": "1", "object_scale": "1",
                  "noobject_scale": "1", "class_scale": "1"},
    "region": {"coords": "4", "softmax": "0", "thresh": "0.5", "bias_match": "0", "rescore": "0",
               "absolute": "0", "jitter": "0.2", "random": "0", "coord_scale": "1",
               "object_scale": "1", "noobject_scale": "1", "class_scale": "1"},
    "yolo": {"ignore_thresh": "0.5", "truth_thresh": "1", "jitter": "0.2", "random": "0",
             "scale_x_y": "1", "new_coords": "0", "nms_kind": "default", "beta_nms": "0.6",
             "iou_loss": "mse", "iou_thresh": "1", "iou_normalizer": "0.75",
             "obj_normalizer": "1", "cls_normalizer": "1", "objectness_smooth": "0",
             "resize": "1"},
}  # fmt: skip


def read(path):
    """Return the sections of a cfg: (name, {key: first value}), all blanks removed."""
    sections = []
    for line in path.read_text().splitlines():
        line = re.sub(r"\s", "", line)
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            name = line.strip("[]")
            sections.append((ALIASES.get(name, name), {}))
        else:
            key, _, value = line.partition("=")
            if value:
                sections[-1][1].setdefault(key, value)
    return sections


def norm(value):
    """Return a value with its numbers as numbers: "0.1,.1" and "0.10, 0.1" are the same."""
    items = []
    for item in value.split(","):
        try:
            items.append(float(item))
        except ValueError:
            items.append(item.rpartition("/")[2])
    return items


def meaning(index, name, options):
    """Return the meaning of a section: defaults filled in, indices absolute, padding in pixels."""
    meant = {**DEFAULTS.get(name, {}), **options}
    if name == "net":
        del meant["batch"], meant["subdivisions"]  # see training_batch
    if name == "rnn":
        meant.pop("hidden", None)  # no option of the program that the weights are from
    meant = {key: norm(value) for key, value in meant.items()}
    if name == "convolutional":
        half = meant["size"][0] // 2
        pad, padding = meant.pop("pad", [0]), meant.pop("padding", [0])
        meant["padding in pixels"] = [half] if pad[0] else padding
    if name == "maxpool":
        meant.setdefault("size", meant["stride"])
    for key in {"route": ["layers"], "shortcut": ["from"]}.get(name, []):
        meant[key] = [i if i >= 0 else index + i for i in meant[key]]
    return meant


def training_batch(path):
    """Return (batch, subdivisions) of training: official files often have them commented out."""
    text = path.read_text()
    keys = ("batch", "subdivisions")
    return tuple(max(map(int, re.findall(rf"(?m)^[#\s]*{k}\s*=\s*(\d+)", text))) for k in keys)


def count_values(sections):
    """Return the number of values in the weights file, by arithmetic of this file alone."""
    net = sections[0][1]
    c, h, w = (int(net.get(key, 1)) for key in ("channels", "height", "width"))
    c = int(net.get("inputs", c))
    shapes, total = [], 0
    for index, (name, options) in enumerate(sections[1:]):
        meant = meaning(index, name, options)
        get = {k: int(v[0]) for k, v in meant.items() if isinstance(v[0], int | float)}
        if name == "convolutional":
            n, k, s, p = (get[key] for key in ("filters", "size", "stride", "padding in pixels"))
            total += n * (4 if get["batch_normalize"] else 1) + n * c // get["groups"] * k * k
            c, h, w = n, (h + 2 * p - k) // s + 1, (w + 2 * p - k) // s + 1
        elif name == "connected":
            total += get["output"] * (c * h * w + 1)
            c, h, w = get["output"], 1, 1
        elif name == "rnn":
            n, b = get["output"], 4 if get["batch_normalize"] else 1
            total += 3 * n * b + n * (c + n + n)
            c = n
        elif name == "local":
            n, k, p = get["filters"], get["size"], get["pad"] * (get["size"] // 2)
            h, w = h + 2 * p - k + 1, w + 2 * p - k + 1
            total += h * w * (n + n * c * k * k)
            c = n
        elif name == "crop":
            h, w = get["crop_height"], get["crop_width"]
        elif name == "maxpool":
            slack = get.get("padding", get["size"] - 1) - get["size"]
            h, w = (h + slack) // get["stride"] + 1, (w + slack) // get["stride"] + 1
        elif name == "upsample":
            h, w = h * get["stride"], w * get["stride"]
        elif name == "reorg":
            s = get["stride"]
            c, h, w = c * s * s, h // s, w // s
        elif name == "avgpool":
            h = w = 1
        elif name == "scale_channels":
            assert (h, w) == (1, 1)
            assert c == shapes[index + int(meant["from"][0])][0]
            c, h, w = shapes[index + int(meant["from"][0])]
        elif name == "route":
            sources = [shapes[int(i)] for i in meant["layers"]]
            assert len({s[1:] for s in sources}) == 1, f"layer {index} joins maps of other sizes"
            c, h, w = sum(s[0] // get["groups"] for s in sources), *sources[0][1:]
        elif name == "shortcut":
            added = shapes[int(meant["from"][0])]
            # in a ResNet, whose blocks change the shape, Darknet adds what there is of both
            assert added[0] <= c or added[1:] == (h, w), f"layer {index} adds other shapes"
        elif name == "yolo":
            assert c == len(meant["mask"]) * (5 + get["classes"])
            assert len(meant["anchors"]) == 2 * get["num"]
        elif name == "region":
            assert c == get["num"] * (get["coords"] + 1 + get["classes"])
            assert len(meant["anchors"]) == 2 * get["num"]
        elif name == "detection":
            cell = get["classes"] + get["num"] * (1 + get["coords"])
            assert c == get["side"] ** 2 * cell
        else:
            assert name in {"softmax", "dropout", "cost"}
        shapes.append((c, h, w))
    return total


def official(name):
    path = OFFICIAL / KNOWN[name][0] / f"{name}.cfg"
    if not OFFICIAL.is_dir():
        pytest.skip("../shared is missing")
    return path


each = pytest.mark.parametrize("name", KNOWN)


@each
def test_values_by_hand(name):
    assert count_values(read(CFG / f"{name}.cfg")) == KNOWN[name][1]


@each
def test_own_hand(name):
    """A header that names the network, one style throughout, counts and indices true."""
    text = (CFG / f"{name}.cfg").read_text()
    assert text.isascii() and text.endswith("\n") and "\n\n\n" not in text and " \n" not in text
    head = text.partition("\n\n")[0].splitlines()
    assert 3 <= len(head) <= 8 and all(line.startswith("# ") for line in head)
    assert re.search(r"arXiv:\d{4}\.\d{4,5}|https://(pjreddie\.com/darknet|github\.com)/\w+", text)
    assert f"{KNOWN[name][1]:,} weights" in text
    for line in text.splitlines():
        assert len(line) <= (150 if line.startswith("anchors=") else 100)
        assert line.startswith("#") or line == "" or re.fullmatch(r"\[\w+\]|\w+=\S.*", line), line
    ends = [(int(a), int(b or a)) for a, b in re.findall(STAGE, text)]
    assert [a for a, _ in ends] == [0, *(b + 1 for _, b in ends[:-1])]
    assert ends[-1][1] == len(read(CFG / f"{name}.cfg")) - 2


@each
def test_same_options(name):
    ours, theirs = read(CFG / f"{name}.cfg"), read(official(name))
    assert [kind for kind, _ in ours] == [kind for kind, _ in theirs]
    for index, ((kind, mine), (_, other)) in enumerate(zip(ours, theirs, strict=True), -1):
        assert meaning(index, kind, mine) == meaning(index, kind, other), f"layer {index}: {kind}"
    assert training_batch(CFG / f"{name}.cfg") == training_batch(official(name))


@each
def test_not_a_copy(name):
    """No official file under another name: the layout and the comments are ours."""
    official(name)
    ours = (CFG / f"{name}.cfg").read_text()
    comments = {line.strip("# \t") for line in ours.splitlines() if line.startswith("#")}
    for path in OFFICIAL.rglob("*.cfg"):
        theirs = path.read_text()
        assert re.sub(r"\s", "", ours) != re.sub(r"\s", "", theirs)
        words = {s for t in theirs.splitlines() if (s := t.strip("# \t")) and t.startswith("#")}
        assert not comments & words, path.name


@each
def test_same_plan(name):
    import darknet_torch

    fork = KNOWN[name][0]
    ours = darknet_torch.plan(CFG / f"{name}.cfg", dialect=fork)
    assert ours.floats == KNOWN[name][1]
    theirs = darknet_torch.plan(official(name), dialect=fork)
    assert len(ours.nodes) == len(theirs.nodes)
    for index, (mine, other) in enumerate(zip(ours.nodes, theirs.nodes, strict=True)):
        assert mine.shape == other.shape, index
        assert mine.inputs == other.inputs, index
        layout = [(s.kind, s.shape) for s in mine.segments]
        assert layout == [(s.kind, s.shape) for s in other.segments], index


@each
def test_values_by_plan(name):
    import darknet_torch

    assert darknet_torch.plan(CFG / f"{name}.cfg", dialect=KNOWN[name][0]).floats == KNOWN[name][1]
