"""What counts as a block, a command and the same output: the ground on which pages are executed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import Step, blocks, commands, executed_pages, shows, statements

PAGE = """\
```console
$ true
```

```python not-run="it would take a day"
sleep()
```

```yaml
a: 1
```

:::{note}
```{literalinclude} file
```
:::
"""


def test_blocks_are_executed_or_marked_or_neither() -> None:
    """A fence of another kind without a reason is what the count below finds."""
    found = [(block.kind, block.executed, block.marked) for block in blocks(PAGE)]
    assert found[:3] == [("console", True, True), ("python", False, True), ("yaml", False, False)]


@pytest.mark.parametrize("page", executed_pages(), ids=lambda page: page.name)
def test_no_block_is_unmarked(page: Path) -> None:
    """Each block of a page that a reader follows is executed here, or says why not."""
    assert [f"{page.name}:{block.line} {block.kind}" for block in blocks(page.read_text()) if not block.marked] == []


def test_commands_and_their_output() -> None:
    """A command may go on over lines; what follows up to the next one is its output."""
    text = "$ cat <<END\n> a\n> END\na\n$ true\n"
    assert list(commands(text)) == [Step(source="cat <<END\na\nEND", shown="a"), Step(source="true", shown="")]


def test_statements_and_their_output() -> None:
    """A session shows what each statement prints; a plain block is one statement that shows nothing."""
    text = ">>> for x in range(1):\n...     print(x)\n...\n0\n>>> y = 1\n"
    assert list(statements(text)) == [
        Step(source="for x in range(1):\n    print(x)\n", shown="0"),
        Step(source="y = 1", shown=""),
    ]
    assert list(statements("x = 1\n\ny = 2\n")) == [Step(source="x = 1\n\ny = 2\n", shown="")]


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a b", "a   b\n", True),
        ("a b", "a b c", False),
        ("NAME AGE\nx …", "NAME   AGE\nx      3s", True),
        ("NAME AGE\nx …", "NAME AGE\nx 3s\ny 3s", False),
        ("NAME AGE\nx …\ny …", "NAME AGE\nx 3s", False),
        ("x-…-1 Running", "x-00ff-1   Running", True),
        ("first\n…\nlast", "first\nlast", True),
        ("first\n…\nlast", "first\n1\n2\nlast", True),
        ("first\n…", "second", False),
        ("a.c", "abc", False),
        ("", "anything", True),
    ],
)
def test_the_same_in_substance(shown: str, printed: str, same: bool) -> None:
    """Words, order and number of lines count; what ``…`` stands for does not."""
    assert shows(shown, printed) is same
