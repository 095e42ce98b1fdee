"""PURE: a stream of bytes, cut into lines of any length."""

from __future__ import annotations


class Lines:
    """Gathers the pieces of a line until its end is there.

    Pieces are joined once a line, so that a line of many megabytes costs its own length and not its square. What is
    left when the stream ends was cut off, and is nobody's line.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that this piece completes, without their ends; empty ones are left out."""
        first, *others = data.split(b"\n")
        self._pieces.append(first)
        if not others:
            return []
        *whole, rest = b"".join(self._pieces), *others
        self._pieces = [rest]
        return [line for line in whole if line.strip()]
