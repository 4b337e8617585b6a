"""What the project takes from elsewhere, judged from its files' text: pins, images, addresses of registries.

Each function returns what is wrong with a text, so that a test may plant a fault and see it found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

PINNED = re.compile(r"([a-z0-9-]+)==([\w.]+)((?:\s+--hash=sha256:[0-9a-f]{64})+)")
EXACT_TAG = re.compile(r"[a-z0-9./-]+:v?\d+\.\d+\.\d+(?:-[a-z0-9.-]+)?")
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}")
HOSTS = ("pypi" + ".org", "pythonhosted" + ".org", "repo.maven" + ".apache", "repo1.maven" + ".org", "docker" + ".io")
ADDRESS = re.compile(
    r"(?i)--(?:extra-)?index-url[ =]\S*://|--(?:find-links|trusted-host)[ =]\S|\[\[?tool\.\w+\.(?:index|source)"
)


def requirements(lock: str) -> Iterator[str]:
    """Yield the requirements of a lock, each with its hashes on one line."""
    whole = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n?", "", lock))
    yield from filter(None, map(str.strip, whole.splitlines()))


def unpinned(lock: str) -> list[str]:
    """Return the lines that are not one release with the hashes of its files."""
    return [line[:80] for line in requirements(lock) if not PINNED.fullmatch(line)]


def locked(lock: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Return of each requirement: its version and the hashes of its files."""
    found = filter(None, (PINNED.fullmatch(line) for line in requirements(lock)))
    return {pinned[1]: (pinned[2], frozenset(pinned[3].split())) for pinned in found}


def named(wanted: Iterable[str]) -> set[str]:
    """Return the normalised names of some requirements."""
    names = (re.match(r"[A-Za-z0-9._-]+", each) for each in wanted)
    return {re.sub(r"[-_.]+", "-", name[0]).lower() for name in names if name}


def images(compose: str, dockerfile: str) -> list[str]:
    """Return the images that compose runs and the image is built from."""
    composed: Mapping[str, Any] = yaml.safe_load(compose)
    return [each["image"] for each in composed["services"].values()] + re.findall(r"(?m)^FROM (\S+)", dockerfile)


def inexact(found: Iterable[str]) -> list[str]:
    """Return the images whose tag is no exact version."""
    return [image for image in found if not EXACT_TAG.fullmatch(image)]


def registries(content: str) -> list[str]:
    """Return the addresses of package registries that a text names, and options that would set one."""
    return [host for host in HOSTS if host in content] + [found[0] for found in ADDRESS.finditer(content)]
