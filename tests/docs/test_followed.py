"""README, tutorial and how-to, followed word by word."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack
from enum import Enum, auto
from pathlib import Path

import pytest

from tests.docs.conftest import DEADLINE, Place
from tests.docs.pages import ROOT, Block, blocks, commands, executed_pages, statements
from tests.docs.sessions import Failure, Python, Shell


class Needs(Enum):
    """What has to be there before a page begins."""

    NOTHING = auto()
    """The page installs what it needs."""
    KINDS = auto()
    """The CRDs alone: operators are embedded."""
    OPERATOR = auto()
    """CRDs and a deployed operator."""


NEEDS: Mapping[str, Needs] = {
    "README.md": Needs.OPERATOR,
    "docs/tutorial/python.md": Needs.KINDS,
    "docs/tutorial/kubectl.md": Needs.NOTHING,
    "docs/how-to/autoscale.md": Needs.OPERATOR,
    "docs/how-to/conditions.md": Needs.OPERATOR,
    "docs/how-to/custom-spec.md": Needs.KINDS,
    "docs/how-to/idle.md": Needs.OPERATOR,
    "docs/how-to/image.md": Needs.KINDS,
    "docs/how-to/install.md": Needs.NOTHING,
    "docs/how-to/jobs.md": Needs.OPERATOR,
    "docs/how-to/labels.md": Needs.OPERATOR,
    "docs/how-to/no-nanny.md": Needs.KINDS,
    "docs/how-to/operator.md": Needs.OPERATOR,
    "docs/how-to/scale.md": Needs.OPERATOR,
    "docs/how-to/worker-groups.md": Needs.OPERATOR,
}
"""Every page with a block that is executed."""


LOCAL_PORT = re.compile(r"\b8786(?=:8786)|(?<=127\.0\.0\.1:)8786|(?<=localhost:)8786")
"""The one port of the reader's machine that pages name: somebody may have it here."""


def to_follow(page: Path, local_port: int = 8786) -> list[Block]:
    text = LOCAL_PORT.sub(str(local_port), page.read_text())
    return [block for block in blocks(text) if block.executed]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def test_no_page_is_forgotten() -> None:
    """A page that has something to execute says what it needs, and the other way round."""
    assert {str(page.relative_to(ROOT)) for page in executed_pages() if to_follow(page)} == set(NEEDS)


@pytest.mark.parametrize("name", NEEDS)
def test_followed(name: str, cluster: Place, place: Place, tmp_path: Path) -> None:
    """Each command and statement works, prints what is shown, and the page leaves nothing behind."""
    needs = NEEDS[name]
    if needs is not Needs.KINDS and not cluster.own:
        pytest.skip("The operator's image is not published: this page is followed on a node of one's own.")
    if needs is not Needs.NOTHING:
        cluster.run("dask", "k8s", "install", *(["--crds-only"] if needs is Needs.KINDS else []))
    environment = dict(place.environment)
    if needs is Needs.KINDS:
        environment["DASK_KUBERNETES__OPERATOR"] = "embedded"  # beside an operator that other pages need
    log = tmp_path / "stderr"
    with ExitStack() as stack:
        shell = stack.enter_context(Shell(environment))
        python = stack.enter_context(Python(environment, log))
        for block in to_follow(ROOT / name, free_port()):
            try:
                follow(block, shell, python)
            except Failure as failure:
                told = f"{name}:{block.line}: {failure}\n--- stderr of Python\n{log.read_text()[-6000:]}"
                raise pytest.fail.Exception(told, pytrace=False) from None
    leaves_nothing(place)


def follow(block: Block, shell: Shell, python: Python) -> None:
    """One block."""
    if block.kind == "console":
        for step in commands(block.text):
            shell.run(step)
        return
    for step in statements(block.text):
        python.run(step, session=block.text.startswith(">>> "))


def leaves_nothing(place: Place) -> None:
    """Clusters are closed or deleted by the page, and their Pods go."""
    assert place.run("kubectl", "get", "daskclusters", "-o", "name") == ""
    deadline = time.monotonic() + DEADLINE
    while left := place.run("kubectl", "get", "daskworkergroups,pods", "-o", "name"):
        assert time.monotonic() < deadline, left
        time.sleep(0.5)
