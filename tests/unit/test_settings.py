"""What is read from Dask's configuration: the operator's waits."""

from __future__ import annotations

import dask.config
import pytest

from dask_k8s import settings
from dask_k8s.errors import InvalidResource
from dask_k8s.settings import Timing


def test_the_waits_that_are_documented_are_those_that_hold() -> None:
    """The keys' defaults, which the reference shows, and the value's own."""
    with dask.config.set({"kubernetes": {}}):
        assert settings.read().timing == Timing()


def test_a_wait_is_read_as_a_time() -> None:
    """With a unit or without."""
    with dask.config.set({"kubernetes.timing": {"refused-drain": "2 minutes", "silence": 3}}):
        assert settings.read().timing == Timing(refused_drain=120.0, silence=3.0)


@pytest.mark.parametrize("wrong", [0, "-1s", "soon", []])
def test_a_wait_that_cannot_be_is_named(wrong: object) -> None:
    """By its key."""
    with dask.config.set({"kubernetes.timing.resync": wrong}), pytest.raises(InvalidResource, match=r"timing\.resync"):
        settings.read()
