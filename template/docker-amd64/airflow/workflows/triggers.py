"""The watchers behind workflows.events. The triggerer runs one for each asset.

Airflow says when an event is stored (its ack mode of shared streams); only then it counts as seen.
A watcher reaches variables by the Task SDK: Airflow keeps its database from triggers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.configuration import AIRFLOW_HOME
from airflow.triggers.base import BaseEventTrigger, TriggerEvent
from airflow.triggers.shared_stream import SharedStreamProducer

from .seen import Memory, find

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from airflow.triggers.shared_stream import AdvanceItem

log = logging.getLogger(__name__)

INTERVAL = 5.0  # seconds
SHARE = 0.05  # of a processor, for a search that takes long
MOST_TOLD = 100  # events of a watcher that Airflow has not stored yet


class Producer(SharedStreamProducer):
    """Looks every few seconds, tells what has changed, remembers what Airflow has stored."""

    def __init__(self, watcher: Watcher) -> None:
        """Take the watcher that says what there is."""
        self.watcher = watcher
        self.memory = Memory(Path(AIRFLOW_HOME) / "events", watcher.label())

    async def open_stream(self) -> AsyncIterator[tuple[Any, Any]]:
        """Yield the payload of each change, with its name and mark."""
        before: dict[str, str] = {}
        while True:
            try:
                marks = await self.watcher.look()
                names = await asyncio.to_thread(self.memory.changes, marks)
            except Exception as error:  # noqa: BLE001  a database or disk that is back later
                log.warning("%s: %s: %s", self.watcher.label(), type(error).__name__, error)
                names, marks = [], before
            for name in names:
                # What was another one when it was last looked at may still be written.
                if before.get(name) == marks[name] or not self.watcher.waits:
                    if len(self.memory.told) >= MOST_TOLD:
                        break
                    self.memory.told[name] = marks[name]
                    yield self.watcher.payload(name, marks[name]), (name, marks[name])
                    await asyncio.sleep(0)
            before = marks
            await asyncio.sleep(self.watcher.pause)

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Remember what is stored; what is not is told again."""
        stored = [one.broker_payload for one in batch if one.outcome.is_clean]
        lost = [one.broker_payload for one in batch if not one.outcome.is_clean]
        await asyncio.to_thread(self.memory.stored, stored, lost)


class Watcher(BaseEventTrigger):
    """What both kinds share. Its only argument names what it watches."""

    waits = False  # whether a change must be there twice to be told
    pause = INTERVAL  # seconds between two looks

    def __init__(self, watched: str) -> None:
        """Take a pattern of files, or the name of a variable."""
        super().__init__()
        self.watched = watched

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Name the class and its arguments, as Airflow stores them."""
        return f"{type(self).__module__}.{type(self).__name__}", {"watched": self.watched}

    def label(self) -> str:
        """What this watcher is called in its file and in messages."""
        return f"{type(self).__name__} {self.watched}"

    def shared_stream_key(self) -> tuple[str, str]:
        """Take the way by which Airflow says what it has stored."""
        return type(self).__name__, self.watched

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> Producer:
        """Make what looks."""
        return Producer(cls(**kwargs))

    async def filter_shared_stream(
        self, shared_stream: AsyncIterator[Any]
    ) -> AsyncIterator[TriggerEvent]:
        """Make an event of each change."""
        async for payload in shared_stream:
            yield TriggerEvent(payload)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Airflow calls filter_shared_stream instead."""
        raise NotImplementedError
        yield

    async def look(self) -> dict[str, str]:
        """The mark of each thing that there is."""
        raise NotImplementedError

    def payload(self, name: str, mark: str) -> dict[str, Any]:
        """What an event says about a thing."""
        raise NotImplementedError


class FileChanged(Watcher):
    """Watches the files of a pattern."""

    waits = True

    async def look(self) -> dict[str, str]:
        """Search in a thread, because a slow disk would stop all watchers."""
        return await asyncio.to_thread(self.find)

    def find(self) -> dict[str, str]:
        """Search, and wait longer after a long search."""
        started = time.thread_time()
        marks = find(self.watched)
        self.pause = max(INTERVAL, (time.thread_time() - started) / SHARE)
        return marks

    def payload(self, name: str, mark: str) -> dict[str, Any]:
        """The path and the size of a file, and when it was written."""
        size, changed = mark.split()
        return {"path": name, "size": int(size), "changed": int(changed) / 1e9}


class VariableChanged(Watcher):
    """Watches a variable of Airflow."""

    async def look(self) -> dict[str, str]:
        """Ask for the value; a deleted variable has an empty mark.

        Raises:
            RuntimeError: the database does not answer.
        """
        from airflow.sdk.execution_time import task_runner  # noqa: PLC0415
        from airflow.sdk.execution_time.comms import (  # noqa: PLC0415
            ErrorResponse,
            ErrorType,
            GetVariable,
            VariableResult,
        )

        # Not Variable.get(): after an error of the database, it would say that there is none.
        answer = await task_runner.SUPERVISOR_COMMS.asend(GetVariable(key=self.watched))
        if isinstance(answer, VariableResult):
            return {self.watched: sha256((answer.value or "").encode()).hexdigest()[:16]}
        if isinstance(answer, ErrorResponse) and answer.error == ErrorType.VARIABLE_NOT_FOUND:
            return {self.watched: ""}
        raise RuntimeError(f"no answer about the variable {self.watched}: {answer}")

    def payload(self, name: str, mark: str) -> dict[str, Any]:
        """The name, and a hash of the value, which may be secret; None if it was deleted."""
        return {"variable": name, "hash": mark or None}
