"""What the tools of the gate keep in the checkout for their next run."""

from __future__ import annotations

from pathlib import Path

CACHES = (".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache")


def give_back(checkout: Path) -> None:
    """Under sudo they are root's when they are made: the person could neither use nor remove them."""
    from devcluster.home import give_all

    for name in CACHES:
        give_all(checkout / name)
