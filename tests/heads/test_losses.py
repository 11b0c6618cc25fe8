"""Losses of heads against what Darknet's programs computed, case by case."""

import numpy as np
import pytest
import torch
from keys import relative_error
from training_cases import case_names, training_case

from darknet_torch.heads.base import Head
from darknet_torch.layers.truth import LossContext


@pytest.mark.parametrize("name", case_names())
def test_a_recorded_case(name: str) -> None:
    """Output, delta (minus the gradient) and printed cost of every head, before the first update.

    The unmodified CPU program of pjreddie's fork has no gradient of [region].
    """
    case = training_case(name)
    compared = 0
    for tag, truth, seen in case.steps():
        for label, node in case.heads():
            key, head = f"{tag}/{label}", node.layer
            assert isinstance(head, Head)
            raw = case.input_of(node, key)
            output = head.forward(raw)
            error = np.abs(output.detach().flatten(1).numpy() - case.arrays[f"{key}/output"]).max()
            assert error <= 1e-6
            loss = head.loss(raw, truth, LossContext((64, 64), seen))
            assert loss is not None
            loss.total.backward()
            assert raw.grad is not None
            delta = case.arrays.get(f"{key}/delta_after_backward", case.arrays[f"{key}/delta"])
            if name != "pj_region_cpu_raw":
                assert relative_error(-raw.grad.flatten(1).numpy(), delta) <= 1e-5
            assert loss.cost.item() == pytest.approx(case.arrays[f"{key}/cost"].item(), rel=1e-5)
            assert not loss.cost.requires_grad
            compared += 1
    assert compared


@pytest.mark.parametrize("name", case_names())
def test_the_ground_truth_is_the_recorded_one(name: str) -> None:
    """Else a mistake of this file's reader could hide one of a loss."""
    case = training_case(name)
    recorded = torch.from_numpy(case.arrays["truth"])
    size = int(case.content["net"]["batch"])
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
