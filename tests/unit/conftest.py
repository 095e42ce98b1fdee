"""Laws are tried without a limit for the single example: the machine that runs them may be busy with something else."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("unit", deadline=None)
settings.load_profile("unit")
