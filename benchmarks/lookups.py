"""How long a look-up takes over HTTP, beside a bare Redis GET behind the same framework.

    python -m benchmarks.lookups                          the generated sample, 500 requests a second for 20 s each
    python -m benchmarks.lookups --data FILE --rate 800 --seconds 60

The server is `segmenter serve` as it is, held to one core; the store and the load share the others. The load is open:
request i is due at i / rate whether or not those before it are answered, and its time counts from then, so that a
server that stands still for a moment is charged for everyone who came meanwhile. `first` asks for each customer once,
so all is computed; `again` for any of them, nothing of whom has changed since. In the end: what of a look-up is
computing, and what of that is the next move.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import uvicorn
from fastapi import FastAPI, Response
from pydantic import SecretStr
from starlette.concurrency import run_in_threadpool

from consumer.commands.lookup import Group, Opened, describe, grouped, opened, read_rows
from consumer.outlook import next_moves_across
from consumer.settings import Settings
from consumer.transport.child import free_port
from features.redis_store import connect
from reports.foretell import DAYS
from tests.harness.footprint import cpu_s
from tests.harness.store import OwnStore, Program, find_store
from tests.harness.swept import swept_shop

PARTITIONS = 12
TOKEN = "a token of the benchmark"  # noqa: S105 -- it guards a store of made-up customers
WARM = 200
"""Customers who are asked for before, so that all is loaded."""


@dataclass(frozen=True, slots=True)
class Measured:
    """ms: from when a request was due to the last byte of its answer, one each, in milliseconds; statuses: answers by
    status; cpu_s: the server's CPU seconds.
    """

    ms: np.ndarray
    statuses: Counter[int]
    cpu_s: float

    def line(self, name: str) -> str:
        p50, p90, p99 = np.quantile(self.ms, [0.5, 0.9, 0.99])
        return (
            f"{name:<18} {len(self.ms):>7,} answers {dict(self.statuses)}  "
            f"p50 {p50:6.2f}  p90 {p90:6.2f}  p99 {p99:6.2f}  max {self.ms.max():7.2f} ms; "
            f"{self.cpu_s / len(self.ms) * 1e3:.2f} ms of the core each"
        )


# the servers -------------------------------------------------------------------------------------------------


def serve_bare(redis_url: str, port: int) -> None:
    """Serve a Redis GET and nothing else."""
    client, app = connect(redis_url), FastAPI()

    @app.get("/v1/customers/{key}")
    async def get(key: str) -> Response:
        return Response(await run_in_threadpool(client.get, key), media_type="application/json")

    @app.get("/livez")
    async def livez() -> Response:
        return Response(b"{}")

    uvicorn.run(app, port=port, log_config=None, access_log=False)


@contextmanager
def serving(arguments: list[str], port: int, environ: dict[str, str], core: int) -> Iterator[int]:
    """Run a server on one core, from its first answer on; give its process id."""
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments], env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(process.pid, {core})
        asyncio.run(_until_alive(port))
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


async def _until_alive(port: int) -> None:
    while True:
        try:
            await _Connection(port).ask("/livez")
            return
        except OSError:
            await asyncio.sleep(0.1)


# the load ----------------------------------------------------------------------------------------------------


class _Connection:
    """One connection that is kept."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, path: str) -> int:
        """Send a GET and read the whole answer; return its status."""
        if self._streams is not None:
            with suppress(ConnectionError, asyncio.IncompleteReadError):  # the server ended what idled
                return await self._ask(*self._streams, path)
        self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        return await self._ask(*self._streams, path)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> int:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        return int(head.split(b" ", 2)[1])


async def load(port: int, pid: int, paths: Sequence[str], rate: float) -> Measured:
    """Ask for some paths, `rate` of them a second, whatever becomes of it."""
    idle: list[_Connection] = []
    took: list[float] = []
    statuses: Counter[int] = Counter()

    async def one(due: float, path: str) -> None:
        connection = idle.pop() if idle else _Connection(port)
        statuses[await connection.ask(path)] += 1
        took.append(time.perf_counter() - due)
        idle.append(connection)

    before = cpu_s(pid)
    async with asyncio.TaskGroup() as group:
        began = time.perf_counter()
        for i, path in enumerate(paths):
            due = began + i / rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            group.create_task(one(due, path))
    return Measured(np.array(took) * 1e3, statuses, cpu_s(pid) - before)


# what it is spent on -----------------------------------------------------------------------------------------


def spent(state: Opened, ids: list[str]) -> Iterator[str]:
    """Yield what a look-up's parts cost in this process, by how many are read at once."""
    dice = random.Random(3)
    for n in (1, 8, 64):
        groups = [grouped(state, read_rows(state, dice.sample(ids, n)))[0] for _ in range(400 if n == 1 else 60)]
        whole, moves = np.array([(_ms(describe, g), _ms(_next_moves, g)) for g in groups]).T / n
        yield (
            f"{n:>3} at once: described in {np.mean(whole):.2f} ms a customer (p99 {np.quantile(whole, 0.99) * n:.1f} "
            f"ms the lot), of that the next move {np.mean(moves) / np.mean(whole):.0%}"
        )


def _next_moves(group: Group) -> object:
    assert group.bundle is not None
    return next_moves_across(group.customers, group.states, group.standing, group.bundle, DAYS)


def _ms(call: Callable[[Group], object], group: Group) -> float:
    began = time.perf_counter()
    call(group)
    return (time.perf_counter() - began) * 1e3


def main() -> None:
    """Measure, or serve the bare GET."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("Dataset"))
    parser.add_argument("--rate", type=float, default=500.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each server")
    parser.add_argument("--bare", nargs=2, metavar=("REDIS", "PORT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.bare:
        serve_bare(given.bare[0], int(given.bare[1]))
        return
    program = find_store({})
    assert isinstance(program, Program)
    with OwnStore(program.path) as store, tempfile.TemporaryDirectory() as folder:
        settings = Settings(_env_file=None, redis_url=SecretStr(store.url), namespace="lookups", clock="event")
        ids = swept_shop(settings, given.data, partitions=PARTITIONS, k=4)
        state = opened(settings)
        tokens = Path(folder, "tokens")
        tokens.write_text(f"read {sha256(TOKEN.encode()).hexdigest()} benchmark\n", encoding="utf-8")
        environ = {**os.environ, "SEGMENTER_REDIS_URL": store.url, "SEGMENTER_NAMESPACE": "lookups"}
        environ |= {"SEGMENTER_CLOCK": "event", "SEGMENTER_API_TOKENS_FILE": str(tokens)}
        core = max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
        print(f"{len(ids):,} customers, {given.rate:g} requests a second for {given.seconds:g} s, server on one core")
        print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        dice = random.Random(2)
        warm, order = ids[:WARM], dice.sample(ids[WARM:], len(ids) - WARM)
        again = dice.choices(order, k=int(given.rate * given.seconds))
        for _ in range(2):
            port = free_port()
            with serving(["benchmarks.lookups", "--bare", store.url, str(port)], port, environ, core) as pid:
                key = state.store.keys.customer
                paths = [f"/v1/customers/{key(state.home(each), each).decode()}" for each in again]
                asyncio.run(load(port, pid, paths[:WARM], given.rate))
                print(asyncio.run(load(port, pid, paths, given.rate)).line("bare Redis GET"), flush=True)
            port = free_port()
            with serving(["consumer.cli", "serve", "--port", str(port)], port, environ, core) as pid:
                asyncio.run(load(port, pid, [f"/v1/customers/{each}" for each in warm], given.rate))
                for name, asked in (("look-up, first", order), ("look-up, again", again)):
                    paths = [f"/v1/customers/{each}" for each in asked]
                    print(asyncio.run(load(port, pid, paths, given.rate)).line(name), flush=True)
        for line in spent(state, ids):
            print(line)


if __name__ == "__main__":
    main()
