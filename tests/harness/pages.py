"""The dashboard as a user starts it, and what a browser may find there."""

from __future__ import annotations

import http.client


def answers(port: int) -> bool:
    """Say whether a dashboard on this machine serves pages."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/_stcore/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
