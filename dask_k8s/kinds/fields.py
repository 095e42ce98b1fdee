"""Reading JSON at the door: a field is what its reader expects, or an error names it by its path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from dask_k8s.errors import InvalidResource
from dask_k8s.kinds.value import Manifest

T = TypeVar("T")
_WORDS = {dict: "an object", list: "a list", str: "a text", int: "a whole number", bool: "true or false"}


class Fields:
    """One JSON object and where it stands.

    Every reader returns the field's value, or the default where the field is absent or null, or raises
    :class:`~dask_k8s.errors.InvalidResource`. A field without a default is required.
    """

    def __init__(self, content: object, path: str = "") -> None:
        if not isinstance(content, Mapping):
            raise InvalidResource(path or "manifest", f"must be an object, not {_word_for(content)}")
        self._content: Manifest = content
        self._path = path

    def path(self, name: str) -> str:
        """Where a field of this object stands."""
        return f"{self._path}.{name}" if self._path else name

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self._content.get(name) is not None

    def inner(self, name: str) -> Fields:
        """A required object, to be read further."""
        return Fields(self._required(name, dict), self.path(name))

    def inner_or_empty(self, name: str) -> Fields:
        """An object to be read further; an absent one reads as an empty one."""
        return Fields(self._typed(name, dict, {}), self.path(name))

    def mapping(self, name: str) -> Manifest:
        """A required object, as it is."""
        content: Manifest = self._required(name, dict)
        return content

    def mapping_or_empty(self, name: str) -> Manifest:
        """An object as it is; an absent one is empty."""
        content: Manifest = self._typed(name, dict, {})
        return content

    def texts(self, name: str) -> dict[str, str]:
        """An object whose values are all texts, such as labels."""
        content = self.mapping_or_empty(name)
        for key, text in content.items():
            if not isinstance(text, str):
                raise InvalidResource(f"{self.path(name)}[{key!r}]", f"must be a text, not {_word_for(text)}: quote it")
        return dict(content)

    def objects(self, name: str) -> Sequence[Fields]:
        """A list of objects, each to be read further; an absent one is empty."""
        items: list[object] = self._typed(name, list, [])
        return [Fields(item, f"{self.path(name)}[{index}]") for index, item in enumerate(items)]

    def text(self, name: str) -> str:
        """A required text that is not empty."""
        text: str = self._required(name, str)
        if not text:
            raise InvalidResource(self.path(name), "must not be empty")
        return text

    def text_or_none(self, name: str) -> str | None:
        """A text, or None."""
        text: str | None = self._typed(name, str, None)
        return text

    def count(self, name: str, default: int) -> int:
        """A whole number that is not negative."""
        number = self._typed(name, int, default)
        if isinstance(number, bool) or number < 0:
            raise InvalidResource(self.path(name), f"must be a whole number of 0 or more, not {number!r}")
        return int(number)

    def flag(self, name: str) -> bool:
        """True or False; False where it is missing."""
        return bool(self._typed(name, bool, False))

    def moment(self, name: str) -> datetime:
        """A required point in time, as Kubernetes writes it."""
        return moment(self.text(name), self.path(name))

    def _required(self, name: str, kind: type) -> Any:
        if not self.has(name):
            raise InvalidResource(self.path(name), f"is required ({_WORDS[kind]})")
        return self._typed(name, kind, None)

    def _typed(self, name: str, kind: type, default: Any) -> Any:
        content = self._content.get(name)
        if content is None:
            return default
        if not isinstance(content, Mapping if kind is dict else kind):
            raise InvalidResource(self.path(name), f"must be {_WORDS[kind]}, not {_word_for(content)}")
        return content


def moment(text: str, path: str = "time") -> datetime:
    """A point in time from RFC 3339, with or without fractions of a second."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidResource(path, f"must be a time such as 2026-01-31T12:00:00Z, not {text!r}") from None
    if parsed.tzinfo is None:
        raise InvalidResource(path, f"must name its time zone, such as the Z in 2026-01-31T12:00:00Z, not {text!r}")
    return parsed


def _word_for(content: object) -> str:
    for kind, word in (*((bool, "true or false"),), *_WORDS.items()):
        if isinstance(content, kind):
            return word
    return "null" if content is None else f"a {type(content).__name__}"
