"""What converting libraries print is dropped, until the block ends or raises."""

import logging
import sys
import warnings

import pytest

from darknet_torch.exporters.silence import silent


@pytest.mark.parametrize("name", [None, "nncf"])
def test_nothing_is_shown_inside_and_everything_afterwards(
    name: str | None, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    log = logging.getLogger(name)
    before, handler = log.level, logging.StreamHandler(sys.stderr)
    log.addHandler(handler)
    try:
        with silent(name):
            sys.stdout.write("printed\n")
            sys.stderr.write("progress")
            warnings.warn("advice", stacklevel=1)
            log.warning("hint")
        inside = capfd.readouterr()
        sys.stdout.write("printed\n")
        log.error("fault")
        with pytest.raises(ValueError, match="wrong"), silent(name):
            raise ValueError("wrong")
    finally:
        log.removeHandler(handler)
    assert (inside.out, inside.err, len(recwarn)) == ("", "", 0)
    assert capfd.readouterr() == ("printed\n", "fault\n")
    assert log.level == before
