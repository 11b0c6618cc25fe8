"""The kernel of the first convolution, in Triton's interpreter."""

from kernels import needs_triton, run_interpreted


@needs_triton
def test_convolution_activation_and_pooling() -> None:
    errors = run_interpreted("stem")
    assert len(errors) == 6
    assert max(errors) < 1e-3  # float16 has 11 bits
