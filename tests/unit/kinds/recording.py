"""A JSON object that remembers what was read from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class Recording(Mapping[str, Any]):
    """Behaves as the content does, and notes the path of every field that is asked for, in itself and below.

    Parameters
    ----------
    read
        Where the paths go, such as ``spec.worker.replicas``; the items of lists have no index in them.
    """

    def __init__(self, content: Mapping[str, Any], read: set[str], path: str = "") -> None:
        self._content = content
        self._read = read
        self._path = path

    def __getitem__(self, key: str) -> Any:
        path = f"{self._path}.{key}" if self._path else key
        self._read.add(path)
        return self._wrapped(self._content[key], path)

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)

    def _wrapped(self, content: Any, path: str) -> Any:
        if isinstance(content, Mapping):
            return Recording(content, self._read, path)
        return [self._wrapped(item, f"{path}[]") for item in content] if isinstance(content, list) else content
