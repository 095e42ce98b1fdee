"""However a stream is cut into pieces, its lines are the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dask_k8s.kube.lines import Lines

LINE = st.binary(min_size=1, max_size=20).filter(lambda line: b"\n" not in line and bool(line.strip()))


@given(st.lists(LINE), LINE, st.data())
def test_lines_do_not_depend_on_the_pieces(expected: list[bytes], rest: bytes, data: st.DataObject) -> None:
    """What is left at the end, without its own end, is no line."""
    stream = b"".join(line + b"\n" for line in expected) + rest
    lines, seen = Lines(), list[bytes]()
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        seen += lines.feed(stream[:size])
        stream = stream[size:]
    assert seen == expected


def test_empty_lines_are_left_out() -> None:
    """Some proxies send them to keep a connection alive."""
    assert Lines().feed(b"\n\r\n{}\n\n") == [b"{}"]
