"""The list of events in docs/monitoring.md against the code: each name, with its level and its fields, both ways."""

from __future__ import annotations

import ast
import json
import logging
import re
from collections import defaultdict
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from consumer.ports import TransportError
from consumer.telemetry.firstday import ENOUGH
from consumer.telemetry.telemetry import PROGRESS_EVERY_S, Telemetry, configure_logs
from models.finding import Finding, Severity
from tests.consumer.telemetry.test_telemetry import Hands, Log, checkup, decided
from tests.harness.world import first_model

REPOSITORY = Path(__file__).parents[3]
PAGE = REPOSITORY / "docs" / "monitoring.md"
LOGGER = re.compile(r"self\._log\.\w+|getattr\((self\._log|say), level\)")
LEVELS = {"info", "warning", "error"}


def listed() -> dict[str, tuple[set[str], set[str]]]:
    """Return level and fields of each event of the page."""
    section = PAGE.read_text(encoding="utf-8").partition("\n## Logs\n")[2].partition("\n## ")[0]
    found = {}
    for row in re.findall(r"(?m)^\| (`.+)\|$", section):
        events, levels, fields, _ = (cell.strip() for cell in row.split("|"))
        names = re.findall(r"`([^`]+)`", events)
        parts = [(levels, fields)] if len(names) == 1 else list(zip(levels.split(";"), fields.split(";"), strict=True))
        for name, (level, of_it) in zip(names, parts, strict=True):
            found[name] = set(re.findall(r"\w+", level)) & LEVELS, set(re.findall(r"\w+", of_it))
    return found


def in_code() -> set[str]:
    """Return every event that the code names: what is given to a logger, or to `_tell`, as a text."""
    found = set()
    for path in sorted((REPOSITORY / "consumer").rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
        for call in calls if "structlog" in source else ():
            text = ast.unparse(call.func)
            if text == "self._tell":
                found.add(_text(call.args[1], path))
            elif LOGGER.fullmatch(text) and ast.unparse(call.args[0]) != "event":  # which is within `_tell`
                found.add(_text(call.args[0], path))
    return found


def _text(node: ast.expr, path: Path) -> str:
    assert isinstance(node, ast.Constant), f"{path}:{node.lineno}: the name of an event is a literal"
    assert isinstance(node.value, str)
    return node.value


def said() -> dict[str, tuple[set[str], set[str]]]:
    """Tell a Telemetry everything that there is to tell; return level and fields of each event that it says."""
    log, hands = Log(), Hands()
    telemetry = Telemetry(b"key", log, now=hands)
    telemetry.committed(0, decided({"lines": 0}))
    hands.now += 2 * PROGRESS_EVERY_S
    telemetry.committed(0, decided({"lines": ENOUGH, "guests": ENOUGH}))
    for verdict in ("in step", "diverged"):
        telemetry.recovered(0, verdict, decided({}).state)
    telemetry.released(0)
    telemetry.skipped(0, 5, 7)
    for partition in (0, -1):
        telemetry.paused(partition, "why")
        telemetry.resumed(partition)
    telemetry.stalled(0, "seek")
    telemetry.trouble("publishing", TransportError("no", retriable=True))
    telemetry.model_published(first_model(), 1)
    telemetry.checked_up(checkup(inertia_ratio=1.05))
    severities: tuple[Severity, ...] = ("alarm", "information")
    telemetry.judged(date(2011, 6, 3), [finding(severity) for severity in severities])
    found: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for level, event, fields in log.lines:
        found[event][0].add(level)
        found[event][1].update(fields)
    return found


def finding(severity: Severity) -> Finding:
    day = date(2011, 6, 3)
    return Finding(
        severity=severity, kind="level", measure="unit price", direction="up", day=day, since=day,
        expected=2.0, found=6.0, message="typically 6.00", advice="compare",
    )  # fmt: skip


ELSEWHERE = {"day swept", "library", "request failed"}
"""Said where a snapshot comes, by the log's own handler, and by the API."""


def test_the_list_holds_every_event_of_the_code_and_no_other() -> None:
    assert in_code() == set(listed())


def test_each_event_has_the_level_and_the_fields_of_the_list() -> None:
    documented, found = listed(), said()
    assert found.keys() == documented.keys() - ELSEWHERE
    for event, (levels, fields) in found.items():
        assert fields == documented[event][1], event
        assert levels <= documented[event][0], event
    both = {event for event, (levels, _) in found.items() if len(levels) > 1}
    assert both == {"partition taken over", "input looks odd"}


def test_what_a_library_says_is_an_event_among_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers = root.handlers.copy()
    try:
        configure_logs(people=False)
        configure_logs(people=False)  # once is enough
        logging.getLogger("some.library").warning("cannot reach %s", "a collector")
        (line,) = capsys.readouterr().err.splitlines()
    finally:
        root.handlers = handlers
    found: dict[str, Any] = json.loads(line)
    assert {name: found[name] for name in ("event", "level", "logger", "detail")} == {
        "event": "library", "level": "warning", "logger": "some.library", "detail": "cannot reach a collector",
    }  # fmt: skip
