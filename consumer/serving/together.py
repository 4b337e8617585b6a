"""Look-ups that come at the same time, read and computed at once.

    request --+
    request --+--> waiting --(the reading before has ended)--> one reading in a thread --> each his answer
    request --+

The code below is columnar: ten customers cost hardly more than one. So the more is asked the cheaper a look-up gets,
and nobody waits for others where there are none: whoever comes first is read alone, at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from starlette.concurrency import run_in_threadpool

from features.codec import InvalidState

T = TypeVar("T")

AT_ONCE = 64
"""So many in one reading at most: more would hold up who comes next."""


class Together(Generic[T]):
    """Asks `read` for several keys at once; it answers with a value for each."""

    def __init__(self, read: Callable[[Sequence[str]], Mapping[str, T]]) -> None:
        self._read = read
        self._waiting: dict[str, asyncio.Future[T]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def get(self, key: str) -> T:
        """Return the value of one key. Raises what `read` raises for it."""
        if key not in self._waiting:
            self._waiting[key] = asyncio.get_running_loop().create_future()
        answer = self._waiting[key]
        if self._reading is None:
            self._reading = asyncio.create_task(self._until_nobody_waits())
        return await asyncio.shield(answer)  # another may wait for the same

    async def _until_nobody_waits(self) -> None:
        while self._waiting:
            keys = list(self._waiting)[:AT_ONCE]
            asked = {key: self._waiting.pop(key) for key in keys}
            await self._answer(asked)
        self._reading = None

    async def _answer(self, asked: Mapping[str, asyncio.Future[T]]) -> None:
        try:
            found = await run_in_threadpool(self._read, list(asked))
        except InvalidState as error:
            if len(asked) > 1:  # one damaged state is no reason to refuse the others
                for key, answer in asked.items():
                    await self._answer({key: answer})
            else:
                _fail(asked, error)
        except Exception as error:  # noqa: BLE001 -- whatever it is, those who wait are told
            _fail(asked, error)
        else:
            for key, answer in asked.items():
                answer.set_result(found[key])


def _fail(asked: Mapping[str, asyncio.Future[T]], error: Exception) -> None:
    for answer in asked.values():
        answer.set_exception(error)
        answer.exception()  # who asked may be gone: then nobody fetches it
