"""The Java example of contracts/, built by Maven as its page says, once for each state of its sources."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from tests.harness.made_once import made_once

REPOSITORY = Path(__file__).parents[2]
SOURCES = REPOSITORY / "contracts" / "examples" / "java"
BUILT = REPOSITORY / ".cache" / "java-example"
BUILD_S = 300

UNAVAILABLE = (
    "no Java compiler or no Maven for the example of contracts/examples/java (Debian, Ubuntu: "
    "apt install openjdk-17-jdk-headless maven; macOS: brew install openjdk@17 maven)"
)


class JavaUnavailableError(RuntimeError):
    """The example cannot be built here; the message says what to install."""


def class_path() -> str:
    """Return the class path of the built example; Maven builds it the first time (a quarter of a minute)."""
    if not all(map(shutil.which, ("java", "javac", "mvn"))):
        raise JavaUnavailableError(UNAVAILABLE)
    files = [SOURCES / "pom.xml", *sorted((SOURCES / "src").rglob("*.java"))]
    built = BUILT / hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]
    target = made_once(built, _build) / "target"
    return f"{target / 'classes'}:{target / 'libs'}/*"


def _build(folder: Path) -> None:
    shutil.copytree(SOURCES, folder, ignore=shutil.ignore_patterns("target"))
    command = ["mvn", "-q", "-B", "-f", str(folder / "pom.xml"), "package"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_S, check=False)
    if done.returncode:
        raise JavaUnavailableError(f"Maven could not build the example:\n{done.stdout[-2000:]}")


def run(bootstrap: str, topic: str) -> str:
    """Return what the example prints of a topic."""
    command = ["java", "-Xmx128m", "-XX:+UseSerialGC", "-cp", class_path(), "Segments", bootstrap, topic, "--once"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
