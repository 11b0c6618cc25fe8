"""Losses of heads against what Darknet's programs computed, case by case."""

import numpy as np
import pytest
import torch
from head_cases import case_names, head_case, truth_of
from keys import relative_error

import darknet_torch as dt
from darknet_torch.heads import anchor_assignment, targets
from darknet_torch.heads.base import Head
from darknet_torch.layers.truth import LossContext, Truth


@pytest.mark.parametrize("name", case_names())
def test_a_recorded_case(name: str) -> None:
    """Output, delta (minus the gradient) and printed cost of every head, before the first update.

    The unmodified CPU program of pjreddie's fork has no gradient of [region].
    """
    case = head_case(name)
    compared = 0
    for tag, truth, seen in case.steps():
        for label, node in case.heads():
            key, head = f"{tag}/{label}", node.layer
            assert isinstance(head, Head)
            raw = case.input_of(node, key)
            output = head.forward(raw)
            error = np.abs(output.detach().flatten(1).numpy() - case.golden[f"{key}/output"]).max()
            assert error <= 1e-6
            loss = head.loss(raw, truth, LossContext((64, 64), seen))
            assert loss is not None
            loss.total.backward()
            assert raw.grad is not None
            delta = case.golden.get(f"{key}/delta_after_backward", case.golden[f"{key}/delta"])
            if name != "pj_region_cpu_raw":
                assert relative_error(-raw.grad.flatten(1).numpy(), delta) <= 1e-5
            assert loss.cost.item() == pytest.approx(case.golden[f"{key}/cost"].item(), rel=1e-5)
            assert not loss.cost.requires_grad
            compared += 1
    assert compared


def test_padding_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a card it goes along: here too, for once, with boxes that no one may compute with."""
    compared = 0
    for name in case_names()[::3]:  # to read all takes seconds
        case = head_case(name)
        tag, truth, seen = next(case.steps())
        more = padded(truth)
        for label, node in case.heads():
            found = []
            for packed, mine in ((True, truth), (False, more)):
                with monkeypatch.context() as patch:
                    for module in (targets, anchor_assignment):
                        patch.setattr(module, "packs", lambda _, packed=packed: packed)
                    raw = case.input_of(node, f"{tag}/{label}")
                    loss = node.layer.loss(raw, mine, LossContext((64, 64), seen))
                    assert loss is not None
                    loss.total.backward()
                    found.append((raw.grad, loss.cost, *loss.parts.values()))
            torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)
            compared += 1
    assert compared


def padded(truth: Truth) -> Truth:
    """The same with three more rows for each image, that are no objects."""
    rows = dict[str, torch.Tensor]()
    for field in ("boxes", "class_id", "valid", "has_box"):
        old = getattr(truth, field)
        more = old.new_zeros(len(old), 3, *old.shape[2:])
        rows[field] = torch.cat((old, more + torch.inf if field == "boxes" else more), dim=1)
    return Truth(**rows)


@pytest.mark.parametrize("name", case_names())
def test_the_ground_truth_is_the_recorded_one(name: str) -> None:
    """Else a mistake of this file's reader could hide one of a loss."""
    case = head_case(name)
    recorded = torch.from_numpy(case.golden["truth"])
    size = int(case.about["net"]["batch"])
    rows = torch.cat([truth.boxes for _, truth, _ in case.steps()])
    whole = [truth for _, truth, _ in case.steps()]
    assert len(rows) == size * len(whole)
    if "detection" in name:  # by cell: 1, one-hot class, x, y in the cell, w, h
        cells = recorded.view(len(recorded), -1, 1 + 3 + 4)
        assert int(cells[..., 0].sum()) == 5
        return
    width = 5 if name.startswith("pj_") else 6
    objects = recorded.view(len(recorded), -1, width)
    valid, class_id, has_box = (
        torch.cat([getattr(each, field) for each in whole])
        for field in ("valid", "class_id", "has_box")
    )
    count = valid.shape[1]
    assert torch.equal(objects[:, :count, 0] != 0, valid)
    assert not objects[:, count:].any()
    assert torch.equal(objects[:, :count, 4].long() * valid, class_id)
    assert torch.equal((objects[:, :count, 0] > 100_000), valid & ~has_box)
    assert torch.equal(objects[:, :count, :4] * has_box[..., None], rows)


TRUE_GRADIENTS = {
    "yolo": ("yolo", "ignore_thresh=.9\ntruth_thresh=1\niou_thresh=.2\n", "alexeyab"),
    "yolo, new_coords": ("yolo", "new_coords=1\nscale_x_y=2\nignore_thresh=.9\n", "alexeyab"),
    "yolo of pjreddie": ("yolo", "ignore_thresh=.9\n", "pjreddie"),
    "region": ("region", "softmax=1\nthresh=.9\n", "pjreddie"),
    "region, sigmoids": ("region", "thresh=.9\n", "pjreddie"),
    "region, linear": ("region", "thresh=.9\n", "alexeyab"),
    "detection": ("detection", "side=4\nsqrt=1\nsoftmax=1\ncoords=4\n", "pjreddie"),
}
"""Losses whose delta is a derivative.

Not so are those of IoU and Gaussian boxes, of a background in the softmax, and where a target or a
weight is computed from the prediction, which is a constant then: `rescore`, `focal_loss`,
`objectness_smooth`, `classfix`.
"""


def small_head(section: str, options: str, dialect: str) -> tuple[Head, tuple[int, ...]]:
    """A head of 2 anchors, 3 classes and 4 x 4 cells, and the shape of its input."""
    shape = (2, 4 * 4 * (3 + 2 * 5)) if section == "detection" else (2, 2 * 8, 4, 4)
    body = (
        "connected]\noutput=208"
        if section == "detection"
        else "convolutional]\nfilters=16\nsize=8\nstride=8"
    )
    cfg = (
        f"[net]\nwidth=32\nheight=32\nchannels=3\n[{body}\nactivation=linear\n"
        f"[{section}]\nclasses=3\nnum=2\n{options}"
    )
    cfg += "" if section == "detection" else "anchors=10,12,20,16\n"
    head = dt.plan(cfg, dialect=dialect)[-1].layer
    assert isinstance(head, Head)
    return head, shape


ROWS = [
    [(0.3, 0.4, 0.2, 0.3, 1), (0.31, 0.41, 0.21, 0.3, 2), (0.7, 0.6, 0.5, 0.4, 0)],
    [(1.0, 1.0, 0.3, 0.3, 2)],
]


@pytest.mark.parametrize("name", TRUE_GRADIENTS)
def test_a_delta_that_is_a_gradient_is_that_of_the_loss(name: str) -> None:
    head, shape = small_head(*TRUE_GRADIENTS[name])
    raw = torch.randn(shape, dtype=torch.float64, generator=torch.manual_seed(1))
    raw = torch.sigmoid(raw) if "new_coords" in name else raw
    context, truth = LossContext((32, 32), 1), truth_of(ROWS)

    def parts(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        loss = head.loss(x, truth, context)
        assert loss is not None
        return tuple(loss.parts.values())

    assert torch.autograd.gradcheck(parts, raw.requires_grad_(), fast_mode=True)
    assert all(each.dtype == torch.float64 for each in parts(raw))


@pytest.mark.parametrize("section", ["yolo", "region", "detection", "Gaussian_yolo"])
def test_half_precision_is_computed_in_float32(section: str) -> None:
    options = "side=4\ncoords=4\n" if section == "detection" else ""
    if section == "Gaussian_yolo":
        plan = dt.plan(GAUSSIAN)
        head, shape = plan[-1].layer, (2, 24, 4, 4)
    else:
        head, shape = small_head(section, options, "alexeyab")
    raw = torch.randn(shape, generator=torch.manual_seed(1)).bfloat16().requires_grad_()
    loss = head.loss(raw, truth_of(ROWS), LossContext((32, 32), 1))
    assert loss is not None
    assert {each.dtype for each in (*loss.parts.values(), loss.cost)} == {torch.float32}
    loss.total.backward()
    assert raw.grad is not None
    same = raw.detach().float().requires_grad_()
    again = head.loss(same, truth_of(ROWS), LossContext((32, 32), 1))
    assert again is not None
    again.total.backward()
    assert again.total.item() == loss.total.item()
    torch.testing.assert_close(raw.grad, same.grad.bfloat16())


GAUSSIAN = """[net]
width=32
height=32
channels=3
[convolutional]
filters=24
size=8
stride=8
activation=linear
[Gaussian_yolo]
classes=3
num=2
anchors=10,12,20,16
"""


@pytest.mark.parametrize("section", ["yolo", "Gaussian_yolo"])
def test_delta_normalizer_multiplies_the_gradient_alone(section: str) -> None:
    found = []
    for factor in (1, 0.25):
        cfg = GAUSSIAN.replace("[Gaussian_yolo]", f"[{section}]\ndelta_normalizer={factor}")
        cfg = cfg if section == "Gaussian_yolo" else cfg.replace("filters=24", "filters=16")
        plan = dt.plan(cfg)
        raw = torch.randn(2, plan[0].shape.c, 4, 4, generator=torch.manual_seed(1)).requires_grad_()
        loss = plan[-1].layer.loss(raw, truth_of(ROWS), LossContext((32, 32), 1))
        assert loss is not None
        loss.total.backward()
        assert raw.grad is not None
        found.append((raw.grad, loss.cost, loss.total.detach()))
    assert found[0][0].abs().max() > 0.1
    torch.testing.assert_close(found[1][0], found[0][0] * 0.25)
    assert found[0][1:] == found[1][1:]


def test_overlaps_of_many_images_are_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    head, shape = small_head("yolo", "", "alexeyab")
    raw = torch.randn(shape, generator=torch.manual_seed(1))
    whole = head.loss(raw, truth_of(ROWS), LossContext((32, 32), 1))
    monkeypatch.setattr(targets, "_LARGEST_TABLE", 1)
    parts = head.loss(raw, truth_of(ROWS), LossContext((32, 32), 1))
    assert whole is not None
    assert parts is not None
    assert parts.cost.item() == whole.cost.item()


def test_padding_and_classes_that_the_head_lacks_change_nothing() -> None:
    head, shape = small_head("yolo", "", "alexeyab")
    raw = torch.randn(shape, generator=torch.manual_seed(1))
    context = LossContext((32, 32), 1)
    expected = head.loss(raw, truth_of(ROWS), context)
    more = [[*ROWS[0], (0.5, 0.5, 0.2, 0.2, 3)], [(0.2, 0.2, 0.3, 0.3, 7), *ROWS[1]]]
    actual = head.loss(raw, truth_of(more), context)
    assert expected is not None
    assert actual is not None
    assert actual.cost.item() == expected.cost.item()


def test_random_boxes_of_v1_learn_in_the_first_64000_images() -> None:
    head, shape = small_head("detection", "side=4\ncoords=4\nrandom=1\n", "pjreddie")
    raw = torch.randn(shape, generator=torch.manual_seed(1))

    def cost(seen: int, seed: int) -> float:
        generator = torch.Generator().manual_seed(seed)
        loss = head.loss(raw, truth_of(ROWS), LossContext((32, 32), seen, generator))
        assert loss is not None
        return loss.cost.item()

    assert cost(63_999, 3) == cost(63_999, 3)
    assert len({cost(63_999, seed) for seed in range(8)}) > 1
    assert len({cost(64_000, seed) for seed in range(8)}) == 1


def test_v1_without_overlap_takes_the_box_of_the_smallest_error() -> None:
    head, shape = small_head(
        "detection", "side=4\ncoords=4\nobject_scale=0\nnoobject_scale=0\n", "pjreddie"
    )
    raw = torch.zeros(1, shape[1])
    boxes = raw[:, 48 + 32 :].view(1, 16, 2, 4)
    boxes[0, 5, 0] = torch.tensor([9.0, 9.0, 0.1, 0.1])
    boxes[0, 5, 1] = torch.tensor([5.0, 5.0, 0.1, 0.1])
    loss = head.loss(
        raw.requires_grad_(), truth_of([[(0.3, 0.3, 0.1, 0.1, 0)]]), LossContext((1, 1))
    )
    assert loss is not None
    loss.total.backward()
    assert raw.grad is not None
    learned = raw.grad[:, 48 + 32 :].view(16, 2, 4).abs().sum(dim=-1).nonzero()
    assert learned.tolist() == [[5, 1]]
