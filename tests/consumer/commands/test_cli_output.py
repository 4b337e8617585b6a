"""Results on stdout, the rest on stderr; bars on a terminal, lines elsewhere; figures that people can read."""

from __future__ import annotations

import json

import pytest

from consumer.commands.cli_output import LINE_EVERY_S, Output, _PlainLines, cell
from consumer.exits import ExitCode


def test_a_result_is_one_json_document_and_notes_stay_away_from_it(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=True)
    output.note("reading [red] files")
    with output.progress() as progress:
        progress("loading", 1, 1)
    output.result({"customers": 2, "name": "[bold]Ä"}, "a table")
    out, err = capsys.readouterr()
    assert json.loads(out) == {"customers": 2, "name": "[bold]Ä"}
    assert "reading [red] files" in err
    assert "loading" in err


def test_an_error_is_a_sentence_for_people_and_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    sentence = "the state was made for another world; " * 20
    Output(as_json=True).error(ExitCode.INCOMPATIBLE, sentence)
    out, err = capsys.readouterr()
    assert json.loads(out) == {"error": sentence, "exit_code": 6}
    assert err == f"segmenter: {sentence}\n"


def test_without_a_terminal_a_stage_is_a_line_at_its_begin_now_and_then_and_at_its_end() -> None:
    lines: list[str] = []
    hands = [0.0]
    tell = _PlainLines(lines.append, lambda: hands[0])
    for done in range(101):
        tell("reading", done, 100)
        hands[0] += LINE_EVERY_S / 40
    tell("reading", 100, 100)
    assert lines == ["reading ...", "reading: 40%", "reading: 80%", "reading: done in 25.0 s"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, ""), (True, "yes"), (1_234_567, "1,234,567"), (1_234.5, "1,234.50"), ("x", "x"), (0, "0")],
)
def test_cells(value: object, shown: str) -> None:
    assert cell(value) == shown
