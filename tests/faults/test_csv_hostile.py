"""Hostile files and paths: refused with the row and the remedy, exit code 2, memory bounded, nothing half-written (S7).

One process tries them all, so that its greatest size bounds each: with `bootstrap`, and one of a kind with `replay`.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consumer import cli
from consumer.history.csv_source import read_history
from tests.harness.fault import Fault
from tests.harness.live import Live

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
MIB = 1 << 20
BOUND_MIB = 150
"""More than an honest file takes; two of them are of 2 GiB."""
REPLAYED = ("windows.csv", "alone.csv", "cut.csv.gz", "cell.csv.gz")
TRY = """
import contextlib, io, json, pathlib, re, sys
from consumer import cli
from consumer.history.csv_source import read_history
def highest():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) // 1024
def run(*words):
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = cli.run(words)
    return code, said.getvalue(), highest()
honest, *tries = json.load(sys.stdin)
read_history([pathlib.Path(honest)])
print(json.dumps([run(*words) for words in tries]))
"""
"""Reads an honest file, then runs commands; says the process's greatest size in MiB after each."""


def names(folder: Path) -> list[str]:
    """Return what is in a folder, hidden files too."""
    return sorted(each.name for each in folder.iterdir())


def row(number: int = 1, who: str = "17850", note: str = "WHITE HEART") -> str:
    return f"{number},S,{note},2,2011-01-05 10:00:00,2.5,{who},UK"


def honest(rows: int) -> bytes:
    return "\n".join([HEADER, *(row(n) for n in range(rows)), ""]).encode()


def packed(path: Path, first: bytes, block: bytes, times: int) -> None:
    with gzip.open(path, "wb", 6) as file:
        file.write(first)
        for _ in range(times):
            file.write(block)


def sparse(path: Path, first: bytes) -> None:
    """Make a file of 2 GiB that takes no disk."""
    with path.open("wb") as file:
        file.write(first)
        file.truncate(2 << 30)


def hostile(folder: Path) -> Iterator[tuple[str, str]]:
    """Make the files; yield the name of each and what has to be said of it."""
    lines = honest(3_000)
    plain = {
        "windows.csv": (lines + row(1, note="CAF\u00c9").encode("cp1252"), "row 3002: not utf-8 text; pass --encoding"),
        "header.csv": (f"Gr\u00f6\u00dfe,{HEADER}\n".encode("latin-1"), "row 1: not utf-8 text; pass --encoding"),
        "utf16.csv": (lines.decode().encode("utf-16"), "row 1: this is UTF-16; save it as UTF-8"),
        "zero.csv": (honest(2) + row(1, "a\0b").encode(), "row 4: a zero byte, this is not text"),
        "late-zero.csv": (lines + row(1, "a\0b").encode(), "row 3002: a zero byte, this is not text"),
        "wide.csv": (
            f"{HEADER}{',c' * 100_000}\n{row()}{',' * 100_000}\n".encode(),
            "row 1: no line ends in the first",
        ),
        "missing.csv": (b"InvoiceNo,Quantity,Other\n1,2,3\n", "no column for customer_id, invoice_date, unit_price"),
        "alone.csv": (f"{HEADER}\n".encode(), "row 2: there is none, a header alone is no history"),
        "alone-unended.csv": (HEADER.encode(), "row 2: there is none, a header alone is no history"),
        "empty.csv": (b"", "row 1: the file is empty or has no header"),
        "mangled.csv": (f"{HEADER}\n{'a,b' * 1}\n".encode(), "row 2: another number of cells than the header"),
        "cut.csv.gz": (gzip.compress(lines)[:-5], "the compressed file is damaged or cut off"),
        "flipped.csv.gz": (gzip.compress(lines)[:-6] + b"??" + gzip.compress(lines)[-4:], "damaged or cut off"),
        "plain.csv.gz": (lines, "the compressed file is damaged or cut off"),
        "sales.xlsx": (b"PK", "cannot read this kind of file; give one of .csv"),
    }
    for name, (content, said) in plain.items():
        (folder / name).write_bytes(content)
        yield name, said
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sales.csv", lines * 100)
    yield "bomb.zip", "cannot read this kind of file; give one of .csv"
    (folder / "zipped.csv").write_bytes((folder / "bomb.zip").read_bytes())
    yield "zipped.csv", "row 1: a zero byte, this is not text"
    head = f"{HEADER}\n".encode()
    packed(folder / "bomb.csv.gz", head, f"{row()}\n".encode() * 20_000, 80)
    yield "bomb.csv.gz", "is more than a file of sales holds"
    packed(folder / "cell.csv.gz", head + f"{row()}\n1,S,".encode(), b"x" * MIB, 64)
    yield "cell.csv.gz", "row 3: longer than 4 MiB"
    packed(folder / "line.csv.gz", b"", b"x" * MIB, 64)
    yield "line.csv.gz", "row 1: no line ends in the first 64 KiB"
    sparse(folder / "cell.csv", lines + b'1,S,"')
    yield "cell.csv", "row 3002: longer than 4 MiB, or a quote that is never closed"
    os.mkfifo(folder / "pipe.csv")
    yield "pipe.csv", "no plain file, and it is read more than once"
    (folder / "dangling.csv").symlink_to(folder / "nowhere")
    yield "dangling.csv", "no such file"
    (folder / "zeros.csv").symlink_to("/dev/zero")
    yield "zeros.csv", "cannot read this kind of file"


def held(live: Live) -> set[bytes]:
    return set(live.client.scan_iter(f"{{{live.settings.namespace}*", count=1_000))


@pytest.mark.fault("S7")
def test_a_hostile_file_is_refused_with_its_row_and_leaves_nothing(
    lives: Callable[..., Live], fault: Fault, tmp_path: Path
) -> None:
    live = lives(partitions=2)
    folder = tmp_path / "files"
    folder.mkdir()
    cases = list(hostile(folder))
    (folder / "honest.csv").write_bytes(honest(20_000))
    before = names(folder), names(live.directory)
    tries = [["bootstrap", str(folder / name)] for name, _ in cases]
    tries[1:1] = [["replay", str(folder / name)] for name in REPLAYED]
    fault.inject(len(tries))
    shell = live.shell()
    done = subprocess.run(
        [sys.executable, "-c", TRY],
        input=json.dumps([str(folder / "honest.csv"), *tries]),
        cwd=live.directory,
        env=shell.environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    found = json.loads(done.stdout)
    for (verb, path), (code, said, _) in zip(tries, found, strict=True):
        expected = dict(cases)[Path(path).name]
        assert (code, expected in said, Path(path).name in said) == (2, True, True), (verb, path, code, said)
        assert len(said) < 1_000
        fault.fired()
    sizes = [size for *_, size in found]
    assert sizes[-1] - sizes[1] < BOUND_MIB, sizes  # by the second both commands have imported what they need
    assert held(live) == set()
    assert live.ends() == 0
    assert (names(folder), names(live.directory)) == before
    fault.unstreamed("refused before anything is written: no key, no record, no file")


ENDINGS = ("\n", "\r\n", "\r")


@pytest.mark.fault("S7")
def test_line_ends_of_every_kind_in_one_file_lose_no_row(fault: Fault, tmp_path: Path) -> None:
    fault.inject()
    path = tmp_path / "mixed.csv"
    path.write_bytes("".join(text + ENDINGS[n % 3] for n, text in enumerate([HEADER, *map(row, range(9))])).encode())
    history = read_history([path])
    assert history.invoice_no.tolist() == [str(n) for n in range(9)]
    assert history.row.tolist() == list(range(2, 11))
    fault.fired()
    fault.unstreamed("a file that is read")


@pytest.mark.fault("S7")
@pytest.mark.parametrize("command", [("export", "--out"), ("demo", "--report")])
def test_an_output_path_leads_where_it_says_or_is_refused(
    command: tuple[str, str], fault: Fault, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verb, option = command
    (tmp_path / "there.csv").write_text("kept", encoding="utf-8")
    (tmp_path / "link.csv").symlink_to(tmp_path / "there.csv")
    (tmp_path / "folder.csv").mkdir()
    before = names(tmp_path)
    refused = {
        "link.csv": "this is a link; name the file itself",
        "folder.csv": "this is a folder; name a file in it",
        "folder.csv/../x.csv": "write the path without '..'",
        "none/x.csv": "there is no folder",
    }
    for name, said in refused.items():
        fault.inject()
        assert cli.run([verb, option, str(tmp_path / name), "--directory", str(tmp_path / "pair")]) == 2
        assert said in capsys.readouterr().err
        fault.fired()
    assert names(tmp_path) == before
    assert (tmp_path / "there.csv").read_text(encoding="utf-8") == "kept"
    fault.unstreamed("refused before anything is read or written")
