"""Who may ask for what: tokens by their SHA-256, with roles.

    # roles       SHA-256 of the token, in hex          name
    read,erase    2bb80d537b1da3e38bd30361aa855686bd…   crm

Guarantee: the file holds no token, and how long a comparison takes tells nothing of one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Literal, get_args

from consumer.exits import ExitCode, Stop

SETTING = "SEGMENTER_API_TOKENS_FILE"

Role = Literal["read", "promote", "erase"]
"""read: every look-up, lists of ids among them; promote: put another model in charge; erase: erase a customer."""

_LINE = re.compile(r"(?P<roles>[a-z,]+)\s+(?P<digest>[0-9a-fA-F]{64})\s+(?P<name>\S.*)")


@dataclass(frozen=True, slots=True)
class Grant:
    """One token's line. digest: SHA-256 of the token's UTF-8 bytes."""

    roles: frozenset[str]
    digest: bytes
    name: str


@dataclass(frozen=True, slots=True)
class Tokens:
    """All that a file grants."""

    grants: tuple[Grant, ...]

    def grant_of(self, token: str) -> Grant | None:
        """Return what a token is granted, None for one that is not ours. Every line is compared, whichever fits."""
        asked = sha256(token.encode("utf-8", "surrogatepass")).digest()
        found = [grant for grant in self.grants if compare_digest(grant.digest, asked)]
        return found[0] if found else None


def read_tokens(path: str) -> Tokens:
    """Read a file of tokens. Raises `Stop` with the number of the line that is wrong, never with what it holds."""
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except OSError as error:
        raise Stop(ExitCode.USAGE, f"{SETTING}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Stop(ExitCode.USAGE, f"{SETTING}: {path} is no text in UTF-8") from None
    kept = [(i, line.strip()) for i, line in enumerate(lines, 1) if line.strip() and not line.lstrip().startswith("#")]
    grants = [_grant(f"{SETTING}: {path}, line {number}", line) for number, line in kept]
    if not grants:
        raise Stop(ExitCode.USAGE, f"{SETTING}: {path} grants nobody anything: a line is `roles sha256 name`")
    if len({grant.digest for grant in grants}) < len(grants):
        raise Stop(ExitCode.USAGE, f"{SETTING}: {path} has one token twice: put its roles on one line")
    return Tokens(tuple(grants))


def _grant(where: str, line: str) -> Grant:
    parts = _LINE.fullmatch(line)
    if parts is None:
        raise Stop(ExitCode.USAGE, f"{where}: a line is `roles sha256 name`, the hash being 64 hexadecimal digits")
    roles = parts["roles"].split(",")
    if unknown := sorted(set(roles) - set(get_args(Role))):
        raise Stop(ExitCode.USAGE, f"{where}: there is no role {unknown[0]!r}, only {', '.join(get_args(Role))}")
    return Grant(frozenset(roles), bytes.fromhex(parts["digest"]), parts["name"])
