"""The kernels that place images and change their colours, in Triton's interpreter."""

from kernels import needs_triton, run_interpreted


@needs_triton
def test_images_are_placed_as_by_torch() -> None:
    differences = run_interpreted("placing")
    assert len(differences) == 4 and max(differences) <= 1


@needs_triton
def test_colours_are_changed_as_darknet_does() -> None:
    differences = run_interpreted("colours")
    assert len(differences) == 5 and max(differences) <= 1.001
