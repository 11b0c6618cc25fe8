"""How the options of each section are drawn."""

import numpy as np

from naive.cfgs import Options, Pen, kind

COPIED = ("filters", "size", "groups", "batch_normalize", "cbn", "xnor")


@kind("convolutional", "conv", "convolutional")
def convolutional(pen: Pen) -> Options | None:
    if not pen.is_map:
        return None
    groups = pen.divisor(pen.c) if pen.chance(40) else 1
    options = {"groups": groups} if groups > 1 else {}
    options |= {"filters": groups * pen.number(1, max(1, 6 // groups))}
    options |= pen.some(size=range(1, 6))
    options |= pen.flags(50, "batch_normalize") | pen.flags(15, "xnor", "binary", "flipped")
    options |= pen.flags(15, "cbn", "dontloadscales")
    if "dontloadscales" not in options and "flipped" not in options:
        options |= pen.flags(5, "dontload")
        if "dontload" not in options and pen.chance(30):
            options |= {"numload": pen.number(1, options["filters"])}
    return options | _variants(pen)


def _variants(pen: Pen) -> Options:
    """What two convolutions with the same weights may do differently."""
    options = pen.some(stride=[1, 1, 2, 3], pad=[0, 1, 1], padding=range(3))
    options |= pen.activation() | pen.flags(30, "bin_output")
    if pen.chance(25):  # in pjreddie these are ignored
        options |= pen.some(stride_x=range(4), stride_y=range(4))
    if pen.chance(20):
        options |= {"dilation": pen.number(1, 3), "pad": 1}
    if pen.chance(15):
        options |= {"antialiasing": pen.number(1, 2)}
    if pen.chance(10):
        options |= pen.flags(40, "sway", "rotate", "reverse", "angle", "coordconv")
    return options


@kind("convolutional", fork="alexeyab")
def sharing(pen: Pen) -> Options | None:
    """With the weights of an earlier convolution, behind a layer with as many channels."""
    if pen.net.outputs and (options := convolutional(pen)) is not None:
        pen.add("convolutional", options)
    numbers = [
        i for i, each in enumerate(pen.sections[1:]) if each.name in ("convolutional", "conv")
    ]
    if not numbers:
        return None
    number = pen.one_of(numbers)
    c = len(pen.net.layers[number].x)
    sources = pen.earlier(lambda out: out.ndim == 3 and len(out) == c)
    if not sources:
        return None
    pen.add("route", {"layers": pen.one_of(sources)})
    copied = {o.key: o.value for o in pen.sections[number + 1].options if o.key in COPIED}
    return {**copied, "share_index": pen.reference(number)} | _variants(pen)


@kind("deconvolutional", "deconv", fork="pjreddie")
def deconvolutional(pen: Pen) -> Options:
    options = pen.some(filters=range(1, 5), size=range(1, 5), stride=range(1, 4), padding=range(3))
    return options | pen.flags(40, "pad", "batch_normalize") | pen.activation()


@kind("connected", "conn")
def connected(pen: Pen) -> Options:
    options = pen.some(output=range(1, 13)) | pen.flags(40, "batch_normalize") | pen.activation()
    return options | pen.flags(15, "dontloadscales")


@kind("local")
def local(pen: Pen) -> Options:
    options = pen.some(filters=range(1, 4), stride=range(1, 4)) | pen.activation()
    return options | pen.one_of([{}, {"size": 2}, {"size": 3}, {"size": 3, "pad": 1}])


@kind("batchnorm", "avgpool", "avg", "cost", "dropout")
@kind("l2norm", "logistic", fork="pjreddie")
@kind("silence", "empty", "contrastive", fork="alexeyab")
def plain(pen: Pen) -> Options | None:
    return {}


@kind("activation")
def activation(pen: Pen) -> Options:
    return pen.activation(90, pixelwise=pen.is_map)


@kind("maxpool", "max")
def maxpool(pen: Pen) -> Options:
    options = pen.some(stride=range(1, 4), size=range(1, 6), padding=range(5))
    if pen.chance(30):
        options |= pen.some(stride_x=range(1, 4), stride_y=range(1, 4))
    if pen.chance(20):
        options |= {"antialiasing": pen.number(1, 2)}
    if pen.chance(20):
        options |= {"maxpool_depth": 1, "out_channels": pen.number(1, max(1, pen.c))}
    return options


@kind("local_avgpool", "local_avg", fork="alexeyab")
def local_avgpool(pen: Pen) -> Options:
    options = pen.some(stride=range(1, 4), size=range(1, 6), padding=range(5))
    return (
        options
        | pen.some(stride_x=range(1, 4), stride_y=range(1, 4))
        | pen.flags(10, "antialiasing")
    )


@kind("upsample")
def upsample(pen: Pen) -> Options:
    return pen.some(stride=[-3, -2, -1, 1, 2, 3], scale=[0.5, 1, 2.25])


@kind("route")
def route(pen: Pen) -> Options | None:
    if not pen.net.outputs:
        return None
    first = pen.one_of(pen.earlier(lambda out: True))
    fits = pen.net.outputs[first].shape[1:]
    same = pen.earlier(lambda out: out.shape[1:] == fits or pen.chance(20))
    chosen = [first, *(pen.one_of([first, *same]) for _ in range(pen.number(0, 2)))]
    options: Options = {"layers": ",".join(str(pen.reference(each)) for each in chosen)}
    if pen.chance(40):
        groups = pen.divisor(int(np.gcd.reduce([len(pen.net.outputs[i]) for i in chosen])))
        options |= {"groups": groups, "group_id": pen.number(0, groups - 1)}
    return options


@kind("reorg")
def reorg(pen: Pen) -> Options:
    options = pen.some(stride=range(1, 4)) | pen.flags(30, "reverse")
    return options | (pen.some(flatten=[0, 1]) or pen.some(extra=[0, 1, 5]))


@kind("reorg3d", fork="alexeyab")
def reorg3d(pen: Pen) -> Options:
    return pen.some(stride=range(1, 4)) | pen.flags(30, "reverse")


@kind("shortcut", fork="pjreddie")
def strided_shortcut(pen: Pen) -> Options | None:
    numbers = pen.earlier(lambda out: out.ndim == 3)
    if not numbers or not pen.is_map:
        return None
    options = pen.some(alpha=[0.5, -1.25], beta=[0.25, 2]) | pen.activation()
    return options | {"from": pen.reference(pen.one_of(numbers))}


@kind("shortcut", "shortcut", fork="alexeyab")
def shortcut(pen: Pen) -> Options | None:
    numbers = pen.earlier(lambda out: out.ndim == 3 and out.shape[1:] == pen.here.shape[1:])
    if not numbers or not pen.is_map:
        return None
    chosen = [pen.one_of(numbers) for _ in range(pen.number(1, 3))]
    options: Options = {"from": ",".join(str(pen.reference(each)) for each in chosen)}
    if pen.chance(60):
        options["weights_type"] = pen.one_of(["per_feature", "per_layer", "per_channel"])
        options["weights_normalization"] = pen.one_of(["relu", "avg_relu", "softmax"])
    return options | pen.activation()


@kind("sam", fork="alexeyab")
def sam(pen: Pen) -> Options | None:
    numbers = pen.earlier(lambda out: out.shape == pen.here.shape)
    if not numbers:
        return None
    return {"from": pen.reference(pen.one_of(numbers))} | pen.activation(pixelwise=pen.is_map)


@kind("scale_channels", fork="alexeyab")
def scale_channels(pen: Pen) -> Options | None:
    """With a layer before it that has a factor for each channel or pixel."""
    numbers = pen.earlier(lambda out: out.ndim == 3)
    if not numbers:
        return None
    number = pen.one_of(numbers)
    if pen.chance(50):
        pen.add("connected", {"output": len(pen.net.outputs[number])})
        return {"from": number} | pen.activation()
    pen.add("route", {"layers": number})
    pen.add("convolutional", {"filters": 1})
    return {"from": number, "scale_wh": 1} | pen.activation()


@kind("normalization", "lrn")
def normalization(pen: Pen) -> Options:
    return pen.some(alpha=[0.001, 0.3], beta=[0.5, 1], kappa=[1, 2], size=range(1, 8))


@kind("crop")
def crop(pen: Pen) -> Options | None:
    if not pen.is_map:
        return None
    _, h, w = pen.here.shape
    size = {"crop_height": pen.number(1, h), "crop_width": pen.number(1, w)}
    return size | pen.flags(50, "noadjust") | pen.flags(20, "flip", "angle", "shift")


@kind("history", fork="alexeyab")
def history(pen: Pen) -> Options:
    return pen.some(history_size=[1, 2, 3])


@kind("implicit", fork="alexeyab")
def implicit(pen: Pen) -> Options:
    return {"filters": pen.number(1, 8)} | pen.some(atoms=range(1, 4))


@kind("softmax", "soft")
def softmax(pen: Pen) -> Options:
    if pen.chance(30) and pen.add("connected", {"output": 14, "activation": "linear"}):
        return {"tree": "mini.tree"} | pen.some(temperature=[0.5, 2])
    return pen.some(temperature=[0.5, 2], spatial=[1]) | {"groups": pen.divisor(pen.here.size)}
