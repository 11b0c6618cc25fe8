"""Classifiers: real weights on real images, each fork's preparation, word trees."""

from pathlib import Path

import pytest
import torch
from PIL import Image

import darknet_torch as dt
from darknet_torch.cli import main
from darknet_torch.errors import UsageError
from darknet_torch.images import resizing

MODELS = Path(__file__).resolve().parents[3] / "shared" / "models"
needs_shared = pytest.mark.skipif(not MODELS.is_dir(), reason="../shared is missing")
CFG = "[net]\nwidth=9\nheight=7\nchannels=3\n[convolutional]\nfilters=4\n[avgpool]\n[softmax]\n"


@needs_shared
def test_lenet_reads_all_digits(capsys) -> None:
    folder = MODELS / "lenet-mnist"
    cfg, weights = folder / "mnist_lenet.cfg", folder / "mnist_lenet.weights"
    network = dt.load(cfg, weights, names=folder / "mnist.names.list")
    result = dt.classify(network, folder / "images", top=1, batch_size=7)
    assert len(result) == 50
    for each in result:
        assert Path(each.path).stem.endswith(f"_c{each.pairs()[0][0]}"), each
    image = str(folder / "images" / "t_00009_c4.png")
    names = ["--names", str(folder / "mnist.labels.list")]
    assert main(["classify", str(cfg), str(weights), image, "--top", "2", *names]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[1] == "c4"


@needs_shared
@pytest.mark.parametrize("name", ["cifar-small", "cifar-minin-old-header"])
def test_cifar_loads_and_comes_back(name: str, tmp_path: Path) -> None:
    (cfg,) = (MODELS / name).glob("*.cfg")
    (weights,) = (MODELS / name).glob("*.weights")
    network = dt.load(cfg, weights)
    dt.save(network, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == weights.read_bytes()
    result = dt.classify(network, torch.rand(3, 40, 50))
    assert 0 < sum(score for _, score in result.pairs()) < 1.0001


@pytest.mark.parametrize("dialect", ["pjreddie", "alexeyab"])
def test_each_fork_prepares_in_its_way(dialect: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = dt.build(CFG, dialect=dialect)
    image = torch.randint(0, 256, (3, 30, 50), dtype=torch.uint8)
    if dialect == "pjreddie":
        x = resizing.letterbox(image, 9, 7)
    else:
        x = resizing.center_crop(resizing.resize_min(image, 9), 9, 7)
    with torch.no_grad():
        expected = network(x[None])[0]
    result = dt.classify(network, image, top=4)
    torch.testing.assert_close(result.score, expected.sort(descending=True).values)
    assert result.class_id.tolist() == expected.argsort(descending=True).tolist()
    other = dt.classify(network, image, top=4, letterbox=dialect == "alexeyab")
    assert not torch.allclose(other.score, result.score)


def test_the_command_takes_converted_files(tmp_path: Path, capsys) -> None:
    """Alone, or with the cfg, like a file of weights."""
    torch.manual_seed(0)
    cfg, weights, program = (tmp_path / f"net.{end}" for end in ("cfg", "weights", "torchscript"))
    cfg.write_text(CFG)
    network = dt.build(cfg)
    dt.save(network, weights)
    dt.export(network, program)
    image = str(tmp_path / "photo.png")
    Image.effect_noise((20, 30), 90).convert("RGB").save(image)
    printed = []
    for words in ((cfg, weights), (cfg, program), (program,)):
        assert main(["classify", *map(str, words), image, "--trust"]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] == printed[2]
    assert printed[0].startswith(f"{image}:\n")


def test_word_tree(tmp_path: Path) -> None:
    """Probabilities are multiplied down the tree; inner classes count only on request."""
    (tmp_path / "a.tree").write_text("animal -1\nthing -1\ncat 0\ndog 0\n")
    (tmp_path / "net.cfg").write_text(CFG.replace("[softmax]", "[softmax]\ntree=a.tree"))
    torch.manual_seed(0)
    network = dt.build(tmp_path / "net.cfg")
    with torch.no_grad():
        p = network(torch.rand(1, 3, 7, 9))[0]
    assert float(p[0] + p[1]) == pytest.approx(1)
    image = Image.effect_noise((9, 7), 60).convert("RGB")
    result = dict(dt.classify(network, image, top=4, leaves=False).pairs())
    assert result["0"] == pytest.approx(result["2"] + result["3"])
    leaves = dict(dt.classify(network, image, top=4).pairs())
    assert leaves["0"] == 0
    assert leaves["1"] + leaves["2"] + leaves["3"] == pytest.approx(1)


def test_wrong_use(tmp_path: Path, capsys) -> None:
    network = dt.build(CFG)
    with pytest.raises(UsageError, match="top=0"):
        dt.classify(network, torch.rand(3, 8, 8), top=0)
    detector = dt.build(CFG.replace("filters=4", "filters=25").replace("[avgpool]", "[region]"))
    with pytest.raises(UsageError, match="detector"):
        dt.classify(detector, torch.rand(3, 8, 8))
    vectors = dt.build("[net]\ninputs=5\n[connected]\noutput=2\n[softmax]")
    with pytest.raises(UsageError, match="vectors"):
        dt.classify(vectors, torch.rand(3, 8, 8))
    (tmp_path / "net.cfg").write_text(CFG)
    dt.save(network, tmp_path / "net.weights")
    (tmp_path / "bad.png").write_bytes(b"?")
    arguments = [str(tmp_path / name) for name in ("net.cfg", "net.weights", "bad.png")]
    assert main(["classify", *arguments]) == 1
    assert "bad.png" in capsys.readouterr().err
