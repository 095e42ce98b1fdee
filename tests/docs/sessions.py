"""A shell and a Python that stay open over a whole page, as a reader's do."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.docs.pages import ROOT, Step, shows

DEADLINE = 150.0
BACKGROUND = 20.0
"""Seconds for what a command in the background is shown to print."""

ENDS_WITHIN = 30.0

DRIVER = """
import contextlib, io, json, os, sys, traceback
replies = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
names = {"__name__": "__main__"}
for line in sys.stdin:
    order = json.loads(line)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            exec(compile(order["source"], "page", order["mode"]), names)
        except BaseException:
            out.write(traceback.format_exc())
    print(json.dumps(out.getvalue()), file=replies, flush=True)
"""


class Failure(Exception):
    """A step that did not do what the page shows."""

    def __init__(self, step: Step, printed: str, why: str) -> None:
        super().__init__(f"{why}\n--- typed\n{step.source}\n--- shown\n{step.shown}\n--- printed\n{printed}")


class Process:
    """A child process that is spoken to by lines, and whose lines are read with a deadline."""

    def __init__(self, argv: list[str], environment: Mapping[str, str], log: Path | None = None) -> None:
        self._log = None if log is None else log.open("w")
        self._child = subprocess.Popen(
            argv,
            env=dict(environment),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log or subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End of input; whoever does not end by that is killed, at once after an error."""
        assert self._child.stdin is not None
        self._child.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(ENDS_WITHIN if error is None else 0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)  # with what it left in the background
        ended = self._child.wait()
        self._reader.join()
        if self._log is not None:
            self._log.close()
        assert error is not None or ended == 0, f"{self._child.args!r} ended with {ended}"

    def send(self, text: str) -> None:
        """Type a line."""
        assert self._child.stdin is not None
        self._child.stdin.write(text)
        self._child.stdin.flush()

    def line(self, deadline: float) -> str | None:
        """The next line that was printed; None where none comes until the deadline."""
        try:
            return self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return None

    def forget_what_came(self) -> None:
        """What a command in the background printed since."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._lines.get_nowait()

    def _read(self) -> None:
        assert self._child.stdout is not None
        with self._child.stdout as stream:
            for line in stream:
                self._lines.put(line)


class Shell(Process):
    """bash, with stdout and stderr together."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        super().__init__(["bash", "--noprofile", "--norc"], environment)

    def run(self, step: Step) -> None:
        """Run a command to its end; one in the background until it has printed what is shown."""
        self.forget_what_came()
        mark = f"end-{secrets.token_hex(8)}"
        self.send(f"{{ {step.source}\n}} </dev/null\nprintf '\\n%s %s\\n' {mark} $?\n")
        printed, code = self._until(mark, step)
        if code != "0":
            raise Failure(step=step, printed=printed, why=f"exit code {code}")
        deadline = time.monotonic() + BACKGROUND
        while step.source.endswith("&") and not shows(step.shown, printed):
            line = self.line(deadline)
            if line is None:
                break
            printed += line
        if not shows(step.shown, printed):
            raise Failure(step=step, printed=printed, why="another output")

    def _until(self, mark: str, step: Step) -> tuple[str, str]:
        printed, deadline = "", time.monotonic() + DEADLINE
        while (line := self.line(deadline)) is not None:
            if line.startswith(mark):
                return printed, line.split()[1]
            printed += line
        raise Failure(step=step, printed=printed, why=f"not at its end after {DEADLINE:g} s")


class Python(Process):
    """An interpreter with one set of names; what it writes to stderr goes to a log."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        super().__init__([sys.executable, "-c", DRIVER], environment, log)

    def run(self, step: Step, *, session: bool) -> None:
        """Run a statement of a session, which prints its value, or a block, which does not.

        An exception is right where the page shows a traceback.
        """
        self.send(json.dumps({"source": step.source, "mode": "single" if session else "exec"}) + "\n")
        line = self.line(time.monotonic() + DEADLINE)
        if line is None:
            raise Failure(step=step, printed="", why=f"not at its end after {DEADLINE:g} s")
        printed: str = json.loads(line)
        if "Traceback" in printed and "Traceback" not in step.shown:
            raise Failure(step=step, printed=printed, why="an exception")
        if not shows(step.shown, printed):
            raise Failure(step=step, printed=printed, why="another output")
