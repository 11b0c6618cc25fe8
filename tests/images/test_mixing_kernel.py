"""The kernel that resizes a batch on a graphics card, in Triton's interpreter."""

import pytest
from kernels import needs_triton, run_interpreted


@needs_triton
def test_it_mixes_as_one_image_after_the_other() -> None:
    differences = run_interpreted("mixing")
    assert max(differences) <= 2e-7
    assert len(differences) == 4


@needs_triton
@pytest.mark.skipif("sys.platform != 'linux'", reason="Triton compiles on Linux")
def test_it_is_compiled_for_cards_that_are_not_here() -> None:
    sizes = run_interpreted("compile")
    assert min(sizes) > 1000
    assert len(sizes) == 18
