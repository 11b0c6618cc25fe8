"""How recurrent layers and heads are drawn; heads bring along the layer that fits them."""

from naive.cfgs import Options, Pen, kind

ANCHORS = "1.5,2,3,4.5,2.25,1"


@kind("rnn", "gru", "lstm")
def recurrent(pen: Pen) -> Options:
    options = pen.some(output=range(1, 7), hidden=range(1, 6), logistic=range(3))
    options |= pen.flags(40, "batch_normalize", "tanh", "shortcut")
    return options | pen.activation(60, pixelwise=False)


@kind("crnn")
def crnn(pen: Pen) -> Options:
    words = ("output", "hidden") if pen.alexey else ("output_filters", "hidden_filters")
    options = pen.some(**{word: range(1, 5) for word in words})
    return options | _convolutions(pen) | pen.flags(30, "shortcut")


@kind("conv_lstm", fork="alexeyab")
def conv_lstm(pen: Pen) -> Options:
    options = pen.some(output=range(1, 5), state_constrain=[0.25, 1]) | pen.flags(50, "peephole")
    return options | _convolutions(pen)


def _convolutions(pen: Pen) -> Options:
    size = pen.one_of([1, 3, 3, 5])
    options: Options = {"size": size, **pen.one_of([{"pad": 1}, {"padding": size // 2}])}
    options |= pen.flags(40, "batch_normalize") | pen.flags(10, "xnor") | pen.activation()
    return options | pen.some(dilation=range(1, 3), groups=range(1, 3))


def _before(pen: Pen, filters: int) -> bool:
    options = {"filters": filters, "size": 1, "activation": "linear"}
    return pen.is_map and pen.add("convolutional", options)


def anchors(pen: Pen, entries: int) -> Options | None:
    classes, num = pen.number(1, 3), pen.number(1, 3)
    options: Options = {"classes": classes, "num": num}
    count = num
    if pen.chance(50):
        mask = [pen.number(0, num - 1) for _ in range(pen.number(1, num))]
        count, options["mask"] = len(mask), ",".join(map(str, mask))
    if pen.chance(70):
        options["anchors"] = ",".join(ANCHORS.split(",")[: 2 * num])
    options |= pen.some(scale_x_y=[1.05, 2])
    return options if _before(pen, count * (entries + classes)) else None


@kind("yolo")
def yolo_head(pen: Pen) -> Options | None:
    options = anchors(pen, 5)
    return None if options is None else options | pen.flags(30, "new_coords")


@kind("Gaussian_yolo", fork="alexeyab")
def gaussian_yolo(pen: Pen) -> Options | None:
    options = anchors(pen, 9)
    return None if options is None else options | pen.some(yolo_point=["left_top", "center"])


@kind("region")
def region(pen: Pen) -> Options | None:
    num, coords = pen.number(1, 3), 4 if pen.alexey else pen.one_of([4, 4, 5])
    classes = 14 if pen.chance(30) else pen.number(1, 3)
    options: Options = {"num": num, "classes": classes, "coords": coords}
    options |= pen.flags(50, "softmax")
    if classes == 14:
        options["tree"] = "mini.tree"
    elif "softmax" in options:
        options |= pen.flags(30, "background")
    return options if _before(pen, num * (coords + 1 + classes)) else None


@kind("detection")
def detection(pen: Pen) -> Options:
    side, num, classes = pen.number(1, 3), pen.number(1, 2), pen.number(1, 3)
    size = side * side * (5 * num + classes)
    pen.add("connected", {"output": size, "activation": "linear"})
    options: Options = {"side": side, "num": num, "classes": classes, "coords": 4}
    return options | pen.flags(50, "softmax", "sqrt")


@kind("iseg", fork="pjreddie")
def iseg(pen: Pen) -> Options | None:
    classes, ids = pen.number(1, 3), pen.number(0, 3)
    return {"classes": classes, "ids": ids} if _before(pen, classes + ids) else None
