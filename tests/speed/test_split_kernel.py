"""The kernels of split convolutions, in Triton's interpreter."""

from kernels import needs_triton, run_interpreted


@needs_triton
def test_convolution_and_activation_in_parts() -> None:
    errors = run_interpreted("split")
    assert len(errors) == 6
    assert max(errors) < 1e-3  # float16 has 11 bits
