"""Hints for words that Darknet does not know: what the same thing is called there.

A hint must not lead to another function: `silu` looks like `selu`, and is Darknet's `swish`. What
other frameworks call by another name is therefore looked up by its meaning, and only what no
framework knows is taken for a misspelling.
"""

from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher

from darknet_torch.parsing.dialect import Dialect

__all__ = ["activation_hint", "option_hint", "section_hint", "word_hint"]

_SHORTEST = 5
"""Letters from which on a value can be a misspelling: shorter ones are all alike."""
NOTHING = "Darknet has no such function"

ACTIVATIONS = {
    **dict.fromkeys(("silu", "swish1"), "swish"),
    **dict.fromkeys(("sigmoid", "sigm"), "logistic"),
    **dict.fromkeys(("identity", "none", "null", "no", "noactivation"), "linear"),
    **dict.fromkeys(("hardtanh", "htanh"), "hardtan"),
    **dict.fromkeys(("hmish", "hardmish"), "hard_mish"),
    **dict.fromkeys(("gelutanh", "gelunew"), "gelu"),
}
"""Names of other frameworks, without capitals, - and _ -> Darknet's name of the same function."""
SLOPES = dict.fromkeys(("leakyrelu", "lrelu", "lerelu"), "leaky (slope 0.1) or relie (0.01)")
UNKNOWN = frozenset(
    "hardswish hswish hardsilu prelu rrelu crelu celu glu swiglu geglu softplus softsign softshrink"
    " hardshrink tanhshrink hardsigmoid hsigmoid logsigmoid softmax softmin logsoftmax threshold"
    " relun relu1 quickgelu squareplus serf aconc metaaconc acon frelu dyrelu maxout exp"
    " exponential sin sine cos square abs sqrt squarerelu relusquared srelu elish tanhexp phish"
    " logish smish bentidentity isru isrlu aria evonorm xielu siren snake".split()
)
"""Functions of other frameworks that Darknet has under no name."""

OPTIONS = {
    **dict.fromkeys(("kernel", "kernelsize", "ksize", "filtersize"), "size"),
    **dict.fromkeys(("outchannels", "numfilters", "numoutput", "units", "nfilters"), "filters"),
    **dict.fromkeys(("strides", "subsample"), "stride"),
    **dict.fromkeys(("bn", "batchnorm", "batchnormalization"), "batch_normalize"),
    **dict.fromkeys(("act", "nonlinearity"), "activation"),
    **dict.fromkeys(("numclasses", "nc", "nclasses"), "classes"),
    **dict.fromkeys(("numanchors", "nanchors"), "num"),
    **dict.fromkeys(("lr", "baselr"), "learning_rate"),
    **dict.fromkeys(("weightdecay",), "decay"),
    **dict.fromkeys(("dropout", "droprate", "p"), "probability"),
}
"""Options of other frameworks -> Darknet's key of the same meaning, in sections that have it."""

SECTIONS = {
    **dict.fromkeys(("conv2d", "convolution", "convbnact"), "convolutional"),
    **dict.fromkeys(("maxpool2d", "maxpooling", "maxpooling2d"), "maxpool"),
    **dict.fromkeys(("globalavgpool", "globalaveragepooling", "gap"), "avgpool"),
    **dict.fromkeys(("avgpool2d", "averagepooling"), "local_avgpool"),
    **dict.fromkeys(("fullyconnected", "fc", "dense", "linear", "innerproduct"), "connected"),
    **dict.fromkeys(("concat", "concatenate", "cat"), "route"),
    **dict.fromkeys(("add", "eltwise", "residual", "skip"), "shortcut"),
    **dict.fromkeys(("batchnorm2d", "bn", "batchnormalization"), "batchnorm"),
    **dict.fromkeys(("deconvolution", "convtranspose2d"), "deconvolutional"),
    **dict.fromkeys(("upsampling", "upsampling2d", "resize", "interpolate"), "upsample"),
    **dict.fromkeys(("dropout2d",), "dropout"),
}
"""Layers of other frameworks -> Darknet's section."""


def activation_hint(text: str, known: Iterable[str], dialects: Mapping[str, Dialect]) -> str:
    """Return what is said of an activation that no fork knows.

    Args:
        text: the word.
        known: the activations of the dialect.
        dialects: all of them, for a word that others know.
    """
    plain, names = _plain(text), list(known)
    if plain in UNKNOWN:
        return NOTHING
    if plain in SLOPES:
        return f"Darknet's name is {SLOPES[plain]}"
    if plain in ACTIVATIONS:
        name = ACTIVATIONS[plain]
        others = [each.name for each in dialects.values() if name in each.activations]
        where = "" if name in names else f", which dialect {' or '.join(others)} knows"
        return f"Darknet's name is {name}{where}"
    close = word_hint(text, names)
    return f"unknown{close}" if close else f"unknown; there are {', '.join(sorted(names))}"


def option_hint(key: str, known: Iterable[str]) -> str:
    """Return `; did you mean KEY?` for an unknown option, or nothing."""
    keys = list(known)
    meant = OPTIONS.get(_plain(key))
    close = meant if meant in keys else _close(key, keys)
    return f"; did you mean {close}?" if close else ""


def section_hint(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean [NAME]?` for an unknown section, or nothing."""
    names, plain = list(known), name.strip("[]#")
    meant = SECTIONS.get(_plain(plain))
    if meant in names:
        return f"; did you mean [{meant}]?"
    close = _close(plain.partition("]")[0], names)
    return f"; did you mean [{close}]?" if close else ""


def word_hint(text: str, known: Iterable[str]) -> str:
    """Return `; did you mean WORD?` if the text is a misspelling of one word alone, or nothing."""
    word = text.partition("#")[0]
    digits = [c for c in word if c.isdigit()]  # relu20 is no misspelling of relu
    alike = [each for each in known if [c for c in each if c.isdigit()] == digits]
    close = _close(word, alike, _SHORTEST)
    return f"; did you mean {close}?" if close else ""


def _plain(text: str) -> str:
    """Return a word without capitals, blanks, - and _, and without what is in brackets."""
    word = text.partition("#")[0].partition("(")[0].lower()
    return "".join(c for c in word if c.isalnum())


def _close(text: str, words: list[str], shortest: int = 3) -> str:
    """Return the word that is clearly the closest."""
    plain = {_plain(word): word for word in words}
    same = plain.get(_plain(text))
    if same is not None:
        return same
    ratios = sorted((SequenceMatcher(None, _plain(text), each).ratio(), each) for each in plain)
    second, (best, word) = [(0.0, ""), (0.0, ""), *ratios][-2:]
    clear = len(text) >= shortest and best >= 0.75 and best - second[0] >= 0.04
    return plain[word] if clear else ""
