"""How each parameter is trained."""

import darknet_torch as dt
from darknet_torch.training.rules import NEVER, rules

CFG = """[net]
width=8
height=8
channels=2
[batchnorm]
[convolutional]
filters=2
batch_normalize=1
[connected]
output=2
dontload=1
"""


def test_a_tensor_that_no_file_has_stays() -> None:
    """pjreddie's [batchnorm] has no biases in the file: they must stay 0."""
    found = {
        dialect: [(rule.decayed, rule.trained) for rule in rules(dt.build(CFG, dialect=dialect))]
        for dialect in ("pjreddie", "alexeyab")
    }
    rest = [(False, True), (False, True), (False, True), (True, True)]  # scales, conv
    rest += [(False, True), (True, True)]  # connected: not loaded, but trained
    assert found == {
        "pjreddie": [(False, False), *rest],
        "alexeyab": [(False, True), *rest],
    }


def test_never_is_no_batch() -> None:
    model = dt.build(CFG + "[convolutional]\nstopbackward=1\n[convolutional]\n")
    assert [rule.learns_from for rule in rules(model)] == [NEVER] * 9 + [1, 1]
