"""What is changed in a user's container, and nothing beyond it: how Dask is started, and the environment that it needs.

``dask-worker`` and ``dask-scheduler`` were dropped from distributed in 2026.6.0; ``dask worker`` and ``dask
scheduler`` have been there since 2022.10. A container that starts one of the old ones is started as the new one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from dask_k8s.kinds.value import Manifest, value

_WRAPPERS = frozenset({"tini", "dumb-init", "env", "nice", "exec", "prepare.sh", "entrypoint.sh"})
_SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh"})


class Program(StrEnum):
    """What a container may start that concerns us."""

    WORKER = "worker"
    SCHEDULER = "scheduler"


@value
class Start:
    """Where a container's words name a Dask program, ``command`` and ``args`` read as the one line that they are.

    Parameters
    ----------
    index
        The first word of the program's name.
    length
        How many words name it: 1 for ``dask-worker``, 2 for ``dask worker``, 3 for ``python -m …``.
    """

    program: Program
    index: int
    length: int


def start_of(container: Manifest) -> Start | None:
    """The Dask program that a container starts; None for everything else, also within a shell's text."""
    words = [*_words(container, "command"), *_words(container, "args")]
    index = _first_beyond_wrappers(words)
    for program in Program:
        length = _length_of_name(words[index:], program)
        if length:
            return Start(program=program, index=index, length=length)
    return None


def starts_a_worker(container: Manifest) -> bool:
    """Whether its command is a Dask worker's in plain words."""
    start = start_of(container)
    return start is not None and start.program is Program.WORKER


def hidden_in_shell(container: Manifest) -> str | None:
    """How a shell's text starts a Dask program that we would have changed; it is not touched, so the user has to know.

    ``dask scheduler`` needs no change there, and is not noticed.
    """
    words = [*_words(container, "command"), *_words(container, "args")]
    index = _first_beyond_wrappers(words)
    if index == len(words) or _base(words[index]) not in _SHELLS:
        return None
    text = " ".join(" ".join(words[index + 1 :]).split())
    return next((name for name in ("dask-worker", "dask-scheduler", "dask worker") if name in text), None)


def modernised(container: Manifest, start: Start, options: Sequence[str] = ()) -> dict[str, Any]:
    """The container with the program's present name, and options right behind it.

    Right behind, because whatever follows is the user's and may contain positional arguments.
    """
    command, args = _words(container, "command"), _words(container, "args")
    words, end = [*command, *args], start.index + start.length
    name = words[start.index : end] if start.length > 1 else [_beside(words[start.index]), start.program.value]
    before, behind = [*words[: start.index], *name, *options], words[end:]
    if end <= len(command):
        return {**container, "command": [*before, *command[end:]]}
    return {**container, "args": [*before, *behind][len(command) :]}


def with_environment(container: Manifest, ours: Mapping[str, str]) -> dict[str, Any]:
    """The container with our variables before the user's, so that theirs can refer to ours; theirs win.

    What is no list is left for the API server to refuse, in its own words.
    """
    theirs = container.get("env") or []
    if not isinstance(theirs, list):
        return dict(container)
    taken = [variable.get("name") for variable in theirs if isinstance(variable, Mapping)]
    added = [{"name": name, "value": text} for name, text in ours.items() if name not in taken]
    return {**container, "env": [*added, *theirs]} if added or theirs else dict(container)


def has_option(container: Manifest, option: str) -> bool:
    """Whether a container's words contain an option, also as ``--option=value``."""
    words = [*_words(container, "command"), *_words(container, "args")]
    return any(word == option or word.startswith(f"{option}=") for word in words)


def option(container: Manifest, name: str) -> str | None:
    """What an option says that stands once in a container's words, also as ``--option=value``; else None."""
    words = [*_words(container, "command"), *_words(container, "args")]
    said = [
        word.removeprefix(f"{name}=") if word != name else next(iter(words[index + 1 :]), "")
        for index, word in enumerate(words)
        if word == name or word.startswith(f"{name}=")
    ]
    return said[0] if len(said) == 1 else None


def main_container(containers: Sequence[Manifest], program: Program) -> int:
    """Which container is Dask's: the one that starts it, else the one that bears its name, else the first."""
    for index, container in enumerate(containers):
        start = start_of(container)
        if start is not None and start.program is program:
            return index
    names = [container.get("name") for container in containers]
    return names.index(program.value) if program.value in names else 0


def lasting(spec: Manifest) -> list[Manifest]:
    """The containers that run until their Pod's end, sidecars that Kubernetes starts before the others included."""
    sidecars = [each for each in spec.get("initContainers") or () if each.get("restartPolicy") == "Always"]
    return [*(spec.get("containers") or ()), *sidecars]


def _words(container: Manifest, key: str) -> list[str]:
    """A list of words; empty where there is something else, which the API server refuses in its own words."""
    words = container.get(key)
    return list(words) if isinstance(words, list) and all(isinstance(word, str) for word in words) else []


def _base(word: str) -> str:
    return PurePosixPath(word).name


def _first_beyond_wrappers(words: Sequence[str]) -> int:
    """Skips what only starts something else: an init, its flags, assignments for ``env``."""
    index = 0
    while index < len(words):
        word = words[index]
        passes = _base(word) in _WRAPPERS or (index > 0 and (word.startswith("-") or "=" in word))
        if not passes:
            break
        index += 1
    return index


def _beside(script: str) -> str:
    """``dask`` as it is found: in the script's own folder where that is named."""
    return str(PurePosixPath(script).with_name("dask")) if "/" in script else "dask"


def _length_of_name(words: Sequence[str], program: Program) -> int:
    if words and _base(words[0]) == f"dask-{program.value}":
        return 1
    if len(words) > 1 and _base(words[0]) == "dask" and words[1] == program.value:
        return 2
    if len(words) > 3 and _base(words[0]).startswith("python") and list(words[1:4]) == ["-m", "dask", program.value]:
        return 4
    module = [f"distributed.cli.dask_{program.value}", f"dask_{program.value}"]
    if len(words) > 2 and _base(words[0]).startswith("python") and words[1] == "-m" and words[2] in module:
        return 3
    return 0
