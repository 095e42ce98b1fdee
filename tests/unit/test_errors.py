"""The exception tree: one root, drawn as it is, and sorted by what the caller can do."""

from __future__ import annotations

import inspect
import re

import pytest

from dask_k8s import errors

CLASSES = {
    name: each for name, each in vars(errors).items() if inspect.isclass(each) and issubclass(each, errors.DaskK8sError)
}
LINE = re.compile(r"(?P<indent>.*?)(?P<name>[A-Z]\w+)(?: \((?P<kin>\w+)\))?(?:  .*)?")


def _drawn() -> dict[str, tuple[str | None, ...]]:
    """The bases of each error in the docstring's tree: what it hangs on, and the built-in that it also is."""
    path: list[str] = []
    drawn = {}
    for line in (errors.__doc__ or "").partition("::\n\n")[2].splitlines():
        found = LINE.fullmatch(line)
        assert found is not None, line
        depth = len(found["indent"]) // 4 - 1
        path[depth:] = [found["name"]]
        drawn[found["name"]] = (path[depth - 1] if depth else "Exception", *filter(None, [found["kin"]]))
    return drawn


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """Each class, its parent, and the built-in error that it can be caught as."""
    assert _drawn() == {name: tuple(base.__name__ for base in each.__bases__) for name, each in CLASSES.items()}


@pytest.mark.parametrize("status", [409, 500])
def test_an_api_error_says_at_least_its_status(status: int) -> None:
    """Never an error without a text."""
    assert str(errors.ApiError(status, "", "")) == f"HTTP {status}"
    assert str(errors.ApiError(status, "Reason", "")) == "Reason"
    assert str(errors.ApiError(status, "Reason", "a sentence")) == "a sentence"


def test_a_start_error_tells_step_cause_and_mend() -> None:
    """One text with all three, and each by itself."""
    error = errors.StartTimeout("Waiting for the scheduler", "No node fits.", "Ask for less.")
    assert str(error) == "Waiting for the scheduler: No node fits.\nAsk for less."
    assert isinstance(error, TimeoutError)
    assert (error.step, error.cause, error.mend) == ("Waiting for the scheduler", "No node fits.", "Ask for less.")
