"""Look-ups that come at the same time are read at once, and each gets his own answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence

import pytest

from consumer.serving.together import AT_ONCE, Together
from features.codec import InvalidState


class Reading:
    """Answers with the key doubled; the first reading waits until it may go on."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.go = threading.Event()

    def __call__(self, keys: Sequence[str]) -> Mapping[str, str]:
        self.asked.append(list(keys))
        if len(self.asked) == 1:
            assert self.go.wait(10)
        if "damaged" in keys:
            raise InvalidState(list(keys).index("damaged"), "its checksum is wrong")
        return {key: key * 2 for key in keys}


async def asked_for(together: Together[str], reading: Reading, keys: Sequence[str]) -> list[str | BaseException]:
    """Ask for the first key, and for the others while that is read."""
    tasks = [asyncio.create_task(together.get(keys[0]))]
    while not reading.asked:
        await asyncio.sleep(0)
    tasks += [asyncio.create_task(together.get(key)) for key in keys[1:]]
    await asyncio.sleep(0)
    reading.go.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_who_comes_first_is_read_alone_and_those_who_come_meanwhile_together() -> None:
    reading = Reading()
    found = asyncio.run(asked_for(Together(reading), reading, ["a", "b", "c", "b"]))
    assert found == ["aa", "bb", "cc", "bb"]
    assert reading.asked == [["a"], ["b", "c"]]


def test_one_reading_is_never_longer_than_it_may_be() -> None:
    reading = Reading()
    keys = [f"{i}" for i in range(AT_ONCE + 2)]
    assert asyncio.run(asked_for(Together(reading), reading, keys)) == [key * 2 for key in keys]
    assert [len(each) for each in reading.asked] == [1, AT_ONCE, 1]


def test_a_damaged_state_is_refused_to_who_asks_for_it_and_to_nobody_else() -> None:
    reading = Reading()
    found = asyncio.run(asked_for(Together(reading), reading, ["a", "b", "damaged", "c"]))
    assert [each for each in found if isinstance(each, str)] == ["aa", "bb", "cc"]
    assert isinstance(found[2], InvalidState)


def test_whoever_leaves_takes_no_answer_from_another() -> None:
    async def leaving() -> str:
        reading = Reading()
        together = Together(reading)
        gone, stays = (asyncio.create_task(together.get("a")) for _ in range(2))
        while not reading.asked:
            await asyncio.sleep(0)
        gone.cancel()
        reading.go.set()
        with pytest.raises(asyncio.CancelledError):
            await gone
        return await stays

    assert asyncio.run(leaving()) == "aa"
