"""Listens for all played schedulers: the address that a connection was made to tells which one is meant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.played.scene import Behaviour
from tests.played.stage import Role, Stage, Tell
from tests.unit.scheduler import servers
from tests.unit.scheduler.servers import HELLO, Reader, Writer, heard, message

COUNT = 5.0
"""Seconds between two lines that tell how many questions there were."""


@asynccontextmanager
async def serving(stage: Stage, host: str, port: int, tell: Tell) -> AsyncIterator[int]:
    """The port of a server; its conversations end with the block."""

    async def behave(reader: Reader, writer: Writer) -> None:
        role = stage.role_at(writer.get_extra_info("sockname")[0])
        if role is not None and role.played.scene.behaviour is not Behaviour.ABSENT:
            tell("connected", role.pod["metadata"]["name"], ip=role.pod["status"]["podIP"])
            await _held(stage, role, reader, writer)

    async with servers.serving(behave, host, port, backlog=1024) as (_, bound):
        yield bound


async def _held(stage: Stage, role: Role, reader: Reader, writer: Writer) -> None:
    conversation: Any = asyncio.current_task()
    role.conversations.add(conversation)
    try:
        await _converse(stage, role, reader, writer)
    finally:
        role.conversations.discard(conversation)


async def _converse(stage: Stage, role: Role, reader: Reader, writer: Writer) -> None:
    """One message and one reply after the other; the handshake is the first."""
    if role.played.scene.behaviour is not Behaviour.SILENT:
        writer.write(message(HELLO))
    await heard(reader)
    while True:
        reply = message(await role.played.answer(await heard(reader)))
        stage.asked += 1
        match role.played.scene.behaviour:
            case Behaviour.ANSWERS:
                writer.write(reply)
            case Behaviour.FROZEN:
                writer.write(reply[: len(reply) // 2])
                await asyncio.Event().wait()
            case _:
                await asyncio.Event().wait()
        await writer.drain()
