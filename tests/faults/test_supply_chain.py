"""What comes from elsewhere is what was chosen: pins with hashes, exact images, no registry, an audit (FAULTS S10).

Each way to loosen that is planted in a copy of the project's own files, and found.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.broker import IMAGE
from tests.harness.fault import Fault
from tests.harness.supply import DIGEST, images, inexact, locked, named, registries, unpinned
from tests.test_repository import LOCKS, REPOSITORY, text, tracked

HASH = re.compile(r" \\\n    --hash=sha256:[0-9a-f]{64}")
WHY = "what is installed, not what streams"


def lacking(lock: str, extras: tuple[str, ...] = ()) -> set[str]:
    """Return what the project asks for and a lock has not."""
    metadata = tomllib.loads(text("pyproject.toml"))["project"]
    wanted = [
        *metadata["dependencies"],
        *(each for extra in extras for each in metadata["optional-dependencies"][extra]),
    ]
    return named(wanted) - locked(lock).keys()


@pytest.mark.fault("S10")
def test_each_way_to_loosen_a_pin_is_found(fault: Fault) -> None:
    whole, image = (text(lock) for lock in LOCKS)
    compose, dockerfile = text("docker-compose.yml"), text("deploy/Dockerfile")
    clean: list[object] = [unpinned(whole), unpinned(image), lacking(whole, ("dev",)), lacking(image)]
    clean += [inexact([*images(compose, dockerfile), IMAGE]), registries(whole + image + compose + dockerfile)]
    assert not any(clean), clean
    name, (version, _) = next(iter(locked(whole).items()))
    asked = next(iter(named(tomllib.loads(text("pyproject.toml"))["project"]["dependencies"])))
    # The hosts and options are put together here, so that this file itself names none.
    index, host = "--index" + "-url https://example.test/simple", "https://pypi" + ".org/simple"
    planted: list[tuple[str, Callable[[], object]]] = [
        ("a release without hashes", lambda: unpinned(HASH.sub("", whole))),
        ("a range", lambda: unpinned(whole.replace(f"{name}=={version}", f"{name}>={version}"))),
        ("a weaker hash", lambda: unpinned(whole.replace("sha256:", "md5:"))),
        ("a file from an address", lambda: unpinned(whole + "\nthing @ https://example.test/thing.whl\n")),
        ("a dependency that nobody locked", lambda: lacking(re.sub(rf"(?m)^{asked}==", "another==", image))),
        ("an image called latest", lambda: inexact(images(compose.replace("kafka:4.1.0", "kafka:latest"), dockerfile))),
        ("an image without a tag", lambda: inexact(images(compose.replace("kafka:4.1.0", "kafka"), dockerfile))),
        ("an image of two numbers", lambda: inexact(images(compose, dockerfile.replace("3.12.11-slim", "3.12-slim")))),
        ("an index of ours", lambda: registries(f"{index}\n{whole}")),
        ("a registry's host", lambda: registries(f"# from {host}\n{whole}")),
    ]
    for what, found in planted:
        fault.inject()
        assert found(), what
        fault.fired()
    fault.unstreamed(WHY)


@pytest.mark.fault("S10")
def test_another_file_under_a_pinned_name_is_not_installed(fault: Fault, tmp_path: Path) -> None:
    wheel = tmp_path / "segmenter_probe-1.0.0-py3-none-any.whl"

    def write(body: str) -> str:
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("segmenter_probe.py", body)
            archive.writestr(
                "segmenter_probe-1.0.0.dist-info/METADATA",
                "Metadata-Version: 2.1\nName: segmenter-probe\nVersion: 1.0.0\n",
            )
            archive.writestr(
                "segmenter_probe-1.0.0.dist-info/WHEEL",
                "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            )
            archive.writestr("segmenter_probe-1.0.0.dist-info/RECORD", "")
        return hashlib.sha256(wheel.read_bytes()).hexdigest()

    lock = tmp_path / "lock"
    lock.write_text(f"segmenter-probe==1.0.0 --hash=sha256:{write('honest = True')}\n")
    assert unpinned(lock.read_text()) == []
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-index",
        "--no-cache-dir",
    ]
    command += ["--find-links", str(tmp_path), "--target", str(tmp_path / "site"), "--require-hashes", "-r", str(lock)]
    assert subprocess.run(command, capture_output=True, text=True, check=False).returncode == 0
    write("honest = False")
    fault.inject()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert "True" in (tmp_path / "site" / "segmenter_probe.py").read_text()
    fault.fired()
    fault.unstreamed(WHY)


def test_every_installation_asks_for_hashes_and_every_lock_is_audited_by_make_check() -> None:
    makefile = text("Makefile")
    (checks,) = re.findall(r"(?m)^CHECKS := ((?:.*\\\n)*.+)$", makefile)
    (audit,) = re.findall(r'"sh \.ci/audit ([^"]+)"', checks)
    assert audit.split()[1:] == ["requirements.lock"]
    assert locked(text("deploy/requirements.lock")).items() <= locked(text("requirements.lock")).items()
    for place in ("Makefile", "deploy/Dockerfile"):
        installs = re.findall(r"pip install (?:[^\n]*\\\n)*[^\n]+", text(place))
        assert installs
        assert all("--require-hashes" in each or "--no-deps" in each for each in installs), place


def test_no_file_holds_a_digest_that_nobody_resolved() -> None:
    assert [str(file) for file in tracked() if DIGEST.search(file.read_text("utf-8", errors="replace"))] == []


@pytest.mark.parametrize(
    ("engine", "code", "out", "err"),
    [
        ("exit 1", 1, "", "no Docker engine answers"),
        ('case "$1 $2" in "pull "*) exit 1;; esac', 1, "", "cannot be pulled"),
        ('case "$2" in inspect) echo "elsewhere@sha256:0";; esac', 1, "", "knows no digest"),
        ('case "$2" in inspect) echo "${5%:*}@sha256:0123";; esac', 0, f"{IMAGE}@sha256:0123\n", ""),
    ],
)
def test_digests_are_only_those_that_an_engine_resolved(
    tmp_path: Path, engine: str, code: int, out: str, err: str
) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\n{engine}\n", encoding="utf-8")
    docker.chmod(0o755)
    environ = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", REPOSITORY / "deploy/digests"], env=environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, err in done.stderr) == (code, True)
    assert out in done.stdout
    if not code:
        assert (
            len(done.stdout.splitlines()) == len(set(images(text("docker-compose.yml"), text("deploy/Dockerfile")))) - 1
        )
