"""Layers without floats: pooling, moving, joining, scaling."""

import numpy as np

from naive.net import IllegalError, Layer, section
from naive.numbers import Array, blur, logistic

LOWEST = -3.4028234663852886e38


def _windows(layer: Layer, x: Array, average: bool, smooth: int) -> Array:
    c, h, w = x.shape
    stride = layer.integer("stride", 1)
    sy, sx = (layer.only_alexey(key, stride) for key in ("stride_y", "stride_x"))
    k = layer.integer("size", stride)
    padding = layer.integer("padding", k - 1)
    sy, sx = (1, 1) if smooth else (sy, sx)
    rows, columns = (h + padding - k) // sy + 1, (w + padding - k) // sx + 1
    if rows < 1 or columns < 1:
        raise IllegalError("too small")
    out = np.zeros((c, rows, columns))
    for i in range(rows):
        for j in range(columns):
            top, left = i * sy - padding // 2, j * sx - padding // 2
            inside = x[:, max(top, 0) : max(top + k, 0), max(left, 0) : max(left + k, 0)]
            if average:
                out[:, i, j] = inside.sum(axis=(1, 2)) / np.float64(inside[0].size)
            else:
                out[:, i, j] = inside.max(axis=(1, 2), initial=LOWEST)
    return out


@section("maxpool", "max")
def maxpool(layer: Layer) -> Array:
    x = layer.map()
    if layer.only_alexey("maxpool_depth", 0):
        n = layer.integer("out_channels", 1)
        if n > len(x):
            raise IllegalError("out_channels")
        return np.stack([x[g::n].max(0) for g in range(n)])
    smooth, stride = layer.only_alexey("antialiasing", 0), layer.integer("stride", 1)
    out = _windows(layer, x, False, smooth)
    if not smooth:
        return out
    sy, sx = (layer.only_alexey(key, stride) for key in ("stride_y", "stride_x"))
    return blur(out, smooth, (sy, sx))


@section("local_avgpool", "local_avg", fork="alexeyab")
def local_avgpool(layer: Layer) -> Array:
    return _windows(layer, layer.map(), True, 0)


@section("avgpool", "avg")
def avgpool(layer: Layer) -> Array:
    return layer.map().mean(axis=(1, 2))[:, None, None]


@section("upsample")
def upsample(layer: Layer) -> Array:
    x, s, scale = layer.map(), layer.integer("stride", 2), layer.real("scale", 1)
    c, h, w = x.shape
    if s > 0:
        return scale * x.repeat(s, axis=1).repeat(s, axis=2)
    s = -s
    if h % s or w % s:
        raise IllegalError("not a multiple")
    return scale * x.reshape(c, h // s, s, w // s, s).sum(axis=(2, 4))


@section("route")
def route(layer: Layer) -> Array:
    groups, number = layer.only_alexey("groups", 1), layer.only_alexey("group_id", 0)
    sources = [layer.output(each) for each in layer.integers("layers")]
    if any(len(each) % groups for each in sources) or number >= groups:
        raise IllegalError("groups")
    parts = []
    for each in sources:
        flat, size = each.reshape(-1), each.size // groups
        parts.append(flat[number * size : (number + 1) * size])
    flat, sizes = np.concatenate(parts), {each.shape[1:] for each in sources}
    return flat if len(sizes) > 1 else flat.reshape(-1, *sizes.pop())


@section("reorg")
def reorg(layer: Layer) -> Array:
    x, s = layer.map(), layer.integer("stride", 1)
    c, h, w = x.shape
    flat, reverse = x.reshape(-1), layer.integer("reverse", 0)
    if extra := layer.only_pjreddie("extra", 0):
        return np.concatenate([flat, np.zeros(extra)])
    shape = (c // (s * s), h * s, w * s) if reverse else (c * s * s, h // s, w // s)
    if np.prod(shape) != x.size or c < s * s:
        raise IllegalError("does not divide")
    if layer.only_pjreddie("flatten", 0):
        turned = flat.reshape(h * w, c) if reverse else flat.reshape(c, h * w)
        return turned.T.reshape(shape)
    out, oc = np.zeros(x.size), c // (s * s)
    for k in range(c):
        for j in range(h):
            for i in range(w):
                a = i + w * (j + h * k)
                row, across = j * s + (k // oc) // s, i * s + (k // oc) % s
                b = across + w * s * (row + h * s * (k % oc))
                if b >= x.size:
                    raise IllegalError("outside the memory")
                if reverse:
                    out[b] = flat[a]
                else:
                    out[a] = flat[b]
    return out.reshape(shape)


@section("reorg3d", fork="alexeyab")
def reorg3d(layer: Layer) -> Array:
    x, s = layer.map(), layer.integer("stride", 1)
    c, h, w = x.shape
    if layer.integer("reverse", 0):
        return backwards(x.reshape(-1), c // s**2, h * s, w * s, s)
    if h % s or w % s:
        raise IllegalError("reorg3d")
    return np.concatenate([x[:, dy::s, dx::s] for dy in range(s) for dx in range(s)])


def backwards(flat: Array, c: int, h: int, w: int, s: int) -> Array:
    """[reorg3d] reverse=1: the loop that moves forwards, writing where it reads, in this shape."""
    out, channels = np.zeros(c * h * w), c // (s * s)
    if not channels:
        raise IllegalError("division by zero")
    for number, (k, j, i) in enumerate(np.ndindex(c, h, w)):
        dy, dx = divmod(k // channels, s)
        row, column = j * s + dy, i * s + dx
        index = column + w * s * (row + h * s * (k % channels))
        if index >= out.size:
            raise IllegalError("outside the memory")
        out[index] = flat[number]
    return out.reshape(c, h, w)


@section("scale_channels", fork="alexeyab")
def scale_channels(layer: Layer) -> Array:
    x, other = layer.map(), layer.output(layer.integer("from", 0))
    expected = (1, *other.shape[1:]) if layer.integer("scale_wh", 0) else (len(other), 1, 1)
    if other.ndim != 3 or x.shape != expected:
        raise IllegalError("scale_channels")
    return layer.activate(x * other, "linear")


@section("sam", fork="alexeyab")
def sam(layer: Layer) -> Array:
    other = layer.output(layer.integer("from", 0))
    if layer.x.shape != other.shape:
        raise IllegalError("sam")
    return layer.activate(layer.x * other, "linear")


@section("dropout")
def dropout(layer: Layer) -> Array:
    return layer.x


@section("silence", "empty", fork="alexeyab")
def silence(layer: Layer) -> Array:
    return layer.x


@section("activation")
def activation(layer: Layer) -> Array:
    return layer.activate(layer.x, "linear")


@section("logistic", fork="pjreddie")
def logistic_layer(layer: Layer) -> Array:
    return logistic(layer.x)


@section("normalization", "lrn")
def normalization(layer: Layer) -> Array:
    x, size = layer.map(), layer.integer("size", 5)
    alpha, beta = layer.real("alpha", 0.0001), layer.real("beta", 0.75)
    if size // 2 > len(x):
        raise IllegalError("the first window reads behind the last channel")
    squares, norm = x * x, np.zeros(x.shape)
    norm[0] = layer.real("kappa", 1) + alpha * squares[: size // 2].sum(0)
    for k in range(1, len(x)):
        norm[k] = norm[k - 1]
        if k - (size - 1) // 2 - 1 >= 0:
            norm[k] -= alpha * squares[k - (size - 1) // 2 - 1]
        if k + size // 2 < len(x):
            norm[k] += alpha * squares[k + size // 2]
    return x * norm**-beta


@section("l2norm", fork="pjreddie")
def l2norm(layer: Layer) -> Array:
    x = layer.map()
    return x / np.sqrt((x * x).sum(0))


@section("crop")
def crop(layer: Layer) -> Array:
    x, height, width = layer.map(), layer.integer("crop_height", 1), layer.integer("crop_width", 1)
    _, h, w = x.shape
    if height > h or width > w:
        raise IllegalError("crop")
    top, left = (h - height) // 2, (w - width) // 2
    x = x[:, top : top + height, left : left + width]
    return x if layer.integer("noadjust", 0) else x * 2 - 1


@section("cost")
def cost(layer: Layer) -> Array:
    return np.zeros(layer.x.size)


@section("contrastive", fork="alexeyab")
def contrastive(layer: Layer) -> Array:
    return np.zeros(layer.x.size)


@section("history", fork="alexeyab")
def history(layer: Layer) -> Array:
    x = layer.map()
    out = np.zeros((len(x) * layer.integer("history_size", 4), *x.shape[1:]))
    out[: len(x)] = x
    return out
