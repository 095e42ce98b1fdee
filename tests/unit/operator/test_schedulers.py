"""Conversations with real schedulers: questions do not disturb each other, and nobody is asked in vain."""

from __future__ import annotations

import asyncio
import logging

import pytest

from dask_k8s.operator.actions import Ask, Question
from dask_k8s.operator.observed import Known, Silent, Unasked
from tests.unit.given import CLUSTER
from tests.unit.operator.conftest import KEY, OTHER, Talking

TARGET = frozenset({Question(ask=Ask.TARGET, every=0.1)})
ORDER = frozenset({Question(ask=Ask.ORDER, every=0.1)})


async def test_those_who_ask_are_woken_by_news_alone(talk: Talking) -> None:
    """The same target again and again is none."""
    await talk.partner.scene("target", workers=3)
    talk.schedulers.ask(KEY, CLUSTER, TARGET)
    await talk.until(lambda: talk.target() == 3)
    await asyncio.sleep(0.5)
    assert talk.woken == [KEY]
    await talk.partner.scene("target", workers=4)
    await talk.until(lambda: talk.target() == 4)
    assert talk.woken == [KEY, KEY]


async def test_an_answer_that_nobody_asks_for_any_more_is_dropped(talk: Talking) -> None:
    """It was on its way when the question was withdrawn; later it would pass for the beginning of a window."""
    await talk.partner.scene("slow", what="adaptive_target", seconds=0.4)
    talk.schedulers.ask(KEY, CLUSTER, TARGET)
    while not await talk.partner.scene("calls", what="adaptive_target"):
        await asyncio.sleep(0.02)
    talk.schedulers.forget(KEY)
    await asyncio.sleep(0.8)
    assert isinstance(talk.targets(), Unasked)


async def test_a_cluster_that_is_not_ours_any_more_is_not_asked(talk: Talking) -> None:
    """A pass that serves nothing withdraws the questions of the passes before it."""
    talk.schedulers.ask(KEY, CLUSTER, TARGET)
    await talk.until(lambda: talk.target() is not None)
    talk.schedulers.ask(KEY, None, frozenset())
    assert isinstance(talk.targets(), Unasked)
    await asyncio.sleep(0.3)
    before = len(talk.woken)
    await talk.partner.scene("target", workers=9)
    await asyncio.sleep(0.3)
    assert len(talk.woken) == before


async def test_an_error_in_one_answer_silences_no_other(talk: Talking) -> None:
    """The connection goes on, and so do the other questions."""
    await talk.partner.scene("begin", count=1)
    await talk.partner.scene("fails", what="adaptive_target")
    talk.schedulers.ask(KEY, CLUSTER, TARGET)
    talk.schedulers.ask(OTHER, CLUSTER, ORDER)
    await talk.until(lambda: isinstance(talk.targets(), Silent))
    await talk.until(lambda: isinstance(talk.schedulers.answers(CLUSTER).order, Known))
    assert talk.way.attempts == 1


async def test_silence_is_told_once_and_tried_less_and_less_often(
    talk: Talking, caplog: pytest.LogCaptureFixture
) -> None:
    """One line, one waking; when it is back, it is news again."""
    caplog.set_level(logging.INFO)
    talk.way.closed = True
    talk.schedulers.ask(KEY, CLUSTER, TARGET)
    await talk.until(lambda: talk.way.attempts >= 4)
    assert talk.woken == [KEY]
    assert sum("is silent" in line for line in caplog.messages) == 1
    talk.way.closed = False
    await talk.until(lambda: talk.target() is not None)
    assert talk.woken == [KEY, KEY]
