"""What a worker serves over HTTP gives nothing away and is held up by nobody (abuse S8).

A worker's metrics and health are all that listens so far.
"""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import pytest

from consumer.telemetry.health import CONNECTIONS, REQUEST_S
from tests.harness.fault import Fault
from tests.harness.live import Live, wait_until
from tests.harness.served import Served
from tests.harness.world import FIRST_DAY, line, shopping

LIVES = Callable[..., Live]
SCRIPT = "<script>alert(1)</script>"
LONGEST = 70_000
"""More than a request line or a header may have."""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str


def ask(port: int, method: str, path: str, headers: dict[str, str] | None = None) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_S + 5)
    try:
        connection.putrequest(method, path, skip_host=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read().decode())
    finally:
        connection.close()


@contextmanager
def dripping(port: int, count: int) -> Iterator[list[socket.socket]]:
    """Open so many connections, each with half a request on it."""
    with ExitStack() as stack:
        made = []
        for _ in range(count):
            each = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            each.sendall(b"GET /livez HT")
            made.append(each)
        yield made


def is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0.05)
    try:
        connection.sendall(b".")  # slow, but never silent
        return connection.recv(1024) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


@pytest.mark.fault("S8")
def test_it_names_nobody_answers_three_questions_and_waits_for_none(lives: LIVES, fault: Fault) -> None:
    live = lives(partitions=2)
    live.bootstrap([*shopping(3, customers=20, days=4), line(SCRIPT, FIRST_DAY)])
    worker = Served(live)
    worker.await_takeover()
    live.settle()
    port = worker.port

    everything = [ask(port, "GET", path) for path in ("/livez", "/readyz", "/metrics")]
    assert [each.status for each in everything] == [200, 200, 200]
    for each in everything:
        assert "html" not in each.headers["Content-Type"]
        assert each.headers["X-Content-Type-Options"] == "nosniff"
        assert SCRIPT not in each.body
        assert "Python" not in each.headers["Server"]
    names = {record.key.decode() for record in live.output() if record.key}
    assert SCRIPT in names
    readiness = everything[1].body
    assert not [name for name in names if f'"{name}"' in readiness]

    hostile = [
        ask(port, "GET", "/v1/customers/12815"),
        ask(port, "GET", "/../../etc/passwd"),
        ask(port, "GET", f"/{SCRIPT.replace(' ', '')}"),
        ask(port, "POST", "/readyz"),
        ask(port, "DELETE", "/metrics"),
        ask(port, SCRIPT.replace("/", ""), "/livez"),
        ask(port, "GET", "/" + "a" * LONGEST),
        ask(port, "GET", "/livez", {"X": "a" * LONGEST}),
        ask(port, "GET", "/livez", {f"X-{n}": "1" for n in range(200)}),
    ]
    fault.inject(len(hostile))
    assert [each.status for each in hostile] == [404, 404, 404, 501, 501, 501, 414, 431, 431]
    assert not [each for each in hostile if "<" in each.body or "html" in each.headers["Content-Type"]]
    fault.fired(len(hostile))

    with pytest.raises(OSError, match=r"refused|unreachable"):  # another address of this machine
        socket.create_connection(("127.0.0.2", port), timeout=5)

    fault.inject()
    with dripping(port, CONNECTIONS // 2) as slow:
        began = time.monotonic()
        assert ask(port, "GET", "/livez").status == 200
        assert time.monotonic() - began < REQUEST_S / 2
        assert not any(is_closed(each) for each in slow[:3])
        wait_until(lambda: all(is_closed(each) for each in slow), "slow requests cut off", 4 * REQUEST_S)
    fault.fired()

    fault.inject()
    with dripping(port, 2 * CONNECTIONS):
        wait_until(lambda: answers(port), "an answer again once the crowd's time is over", 4 * REQUEST_S)
    fault.fired()
    live.end()
    fault.judge(live.verdict())


def answers(port: int) -> bool:
    try:
        return ask(port, "GET", "/livez").status == 200
    except (OSError, http.client.HTTPException):
        return False
