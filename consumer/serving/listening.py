"""Where a server of ours may listen: to this machine alone where no file of tokens says who may ask."""

from __future__ import annotations

import socket

from consumer.exits import ExitCode, Stop
from consumer.serving.tokens import SETTING, Tokens, read_tokens

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def tokens_for(host: str, path: str | None, doing: str) -> Tokens | None:
    """Read the file of tokens; None: none is given. Raises `Stop` where others could then do what `doing` names."""
    tokens = read_tokens(path) if path else None
    if tokens is None and host not in LOOPBACK:
        raise Stop(
            ExitCode.USAGE,
            f"without {SETTING} nobody but this machine may {doing}: give a file of tokens, or --host 127.0.0.1",
        )
    return tokens


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises `Stop` where it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except (OSError, OverflowError) as error:
        raise Stop(ExitCode.USAGE, f"cannot listen on {host}, port {port}: {error}; choose another --port") from None


def address(host: str, port: int) -> str:
    """Return the address as a browser takes it."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
