"""Text from character models, against a loop by hand."""

import pytest
import torch

import darknet_torch as dt
from darknet_torch.cli import main
from darknet_torch.errors import UsageError
from darknet_torch.inference.generator import generate

CFG = """[net]
inputs=128
{layer}
output=16
{options}
[connected]
output=128
activation=linear
[softmax]
[cost]
"""
LAYERS = {
    "rnn": ("pjreddie", "activation=tanh"),
    "gru": ("pjreddie", "tanh=1"),
    "lstm": ("alexeyab", "batch_normalize=1"),
}


@pytest.fixture(params=LAYERS)
def network(request) -> dt.Network:
    torch.manual_seed(5)
    dialect, options = LAYERS[request.param]
    network = dt.build(CFG.format(layer=f"[{request.param}]", options=options), dialect=dialect)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3)
    return network


def by_hand(network: dt.Network, seed: bytes, length: int) -> bytes:
    network.reset()
    text, written = bytearray(), bytearray(seed)
    with torch.no_grad():
        for byte in seed:
            output = network(torch.eye(128)[byte][None])
        for _ in range(length):
            text.append(int(output.argmax()))
            output = network(torch.eye(128)[text[-1]][None])
    assert len(written) == len(seed)
    return bytes(text)


def test_temperature_zero_is_the_loop_by_hand(network) -> None:
    text = bytes(generate(network, b"Darknet", length=40, temperature=0))
    assert text == by_hand(network, b"Darknet", 40)
    assert text != bytes(generate(network, b"?", length=40, temperature=0))


def test_temperature(network) -> None:
    """Drawn often, the frequencies are those of a softmax of that temperature."""
    network.reset()
    with torch.no_grad():
        logits = network(torch.eye(128)[65][None]).flatten().log()
    expected = torch.softmax(logits / 0.5, dim=0)
    counts = torch.zeros(128)
    for number in range(400):
        counts[next(generate(network, b"A", temperature=0.5, random_seed=number))] += 1
    assert float((counts / 400 - expected).abs().max()) < 0.1
    again = [next(generate(network, b"A", temperature=0.5, random_seed=3)) for _ in range(2)]
    assert again[0] == again[1]


def test_command(network, tmp_path, capfdbinary) -> None:
    section = network.plan[0].name
    dialect, options = LAYERS[section]
    cfg, weights = tmp_path / "net.cfg", tmp_path / "net.weights"
    cfg.write_text(CFG.format(layer=f"[{section}]", options=options))
    dt.save(network, weights)
    arguments = [str(cfg), str(weights), "--seed", "Abc", "--length", "9", "--temperature", "0"]
    assert main(["generate", *arguments, "--dialect", dialect]) == 0
    assert capfdbinary.readouterr().out == b"Abc" + by_hand(network, b"Abc", 9) + b"\n"


def test_command_by_name(tmp_path, monkeypatch, capfdbinary) -> None:
    """A name of the zoo brings its weights and its fork, and its cfg's name brings the fork."""
    monkeypatch.setenv("DARKNET_TORCH_CACHE", str(tmp_path))
    weights = tmp_path / "grrm.weights"
    dt.save(dt.build("grrm"), weights)
    written = bytes(generate(dt.load("grrm"), b"Abc", length=3, temperature=0))
    arguments = ["--seed", "Abc", "--length", "3", "--temperature", "0"]
    for words in (["grrm"], ["rnn", str(weights)]):
        assert main(["generate", *words, *arguments]) == 0
        assert capfdbinary.readouterr().out == b"Abc" + written + b"\n"
    assert main(["generate", "rnn", *arguments]) == 2
    assert b"rnn: no weights given" in capfdbinary.readouterr().err


def test_wrong_use(network) -> None:
    with pytest.raises(UsageError, match="seed"):
        next(generate(network, b""))
    with pytest.raises(UsageError, match="below 128"):
        next(generate(network, b"\xff"))
    plain = dt.build("[net]\ninputs=5\n[connected]\noutput=5")
    with pytest.raises(UsageError, match="no memory"):
        next(generate(plain, b"\x01"))
