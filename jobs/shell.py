"""How every job ends: in one line that says what was wrong, and an exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable

from rich.console import Console

from pipeline.errors import ConfigurationError, JobError

PLAIN_WIDTH = 120  # of tables, where there is no terminal


def run(work: Callable[[Console], int]) -> int:
    """Do a job's work, which returns the exit status; 1 where it broke down, 2 where it was asked for something
    impossible, 130 where it was interrupted."""
    console = Console(stderr=True, width=None if sys.stderr.isatty() else PLAIN_WIDTH)
    try:
        return work(console)
    except (ConfigurationError, JobError) as error:
        console.print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        return 2 if isinstance(error, ConfigurationError) else 1
    except KeyboardInterrupt:
        console.print("interrupted: the same command goes on where it stopped")
        return 130
