"""How long threads of OpenMP that wait for work keep a core busy before they sleep.

GCC's OpenMP, which torch has, lets them spin for some milliseconds, so that they begin at once. In
training the process that reads images needs a core meanwhile: `tools/bench.py train` measures it.
"""

import os
import sys

__all__ = ["let_idle_threads_sleep"]

SPINS = "GOMP_SPINCOUNT"
COUNT = 30_000
"""A tenth of the default."""
OF_THE_USER = (SPINS, "OMP_WAIT_POLICY")
"""Of the environment: who has set one of them has decided."""


def let_idle_threads_sleep() -> bool:
    """Let them sleep soon, in this process and those that it starts.

    Returns:
        Whether they will. After torch has been imported it is too late.
    """
    if "torch" in sys.modules or any(name in os.environ for name in OF_THE_USER):
        return False
    os.environ[SPINS] = str(COUNT)
    return True
