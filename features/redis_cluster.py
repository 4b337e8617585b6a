"""A Redis Cluster: its addresses, redis-py's client of it, and what that client leaves open.

    redis+cluster://[user:password@]host:port[,host:port ...]     rediss+cluster:// for TLS

Guarantee: a command that a node refuses because the slot lies elsewhere (MOVED, ASK, TRYAGAIN) did nothing there, and
is sent to where it belongs. One that a node does not answer is not sent again: the slots are asked for anew, and our
own code decides what may be repeated. Only pipelines are sent again, and those read, or write the same once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import redis
from redis._parsers.commands import CommandPolicies, RequestPolicy, ResponsePolicy
from redis.backoff import NoBackoff
from redis.cluster import PRIMARY, ClusterNode, ClusterPipeline
from redis.commands.policies import StaticPolicyResolver
from redis.connection import parse_url
from redis.exceptions import RedisClusterException
from redis.retry import Retry

SCHEMES = ("redis+cluster", "rediss+cluster")


def addresses(url: str) -> list[str]:
    """Return the address of each server that a URL names: of a cluster those that may be asked how its slots lie.

    Raises ValueError where it is none; its text may quote the address, and with it a password.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        return [url]
    login, at, hosts = parts.netloc.rpartition("@")
    scheme = parts.scheme.partition("+")[0]
    found = [parts._replace(scheme=scheme, netloc=login + at + host) for host in hosts.split(",")]
    if parts.path not in ("", "/", "/0") or not all(each.hostname for each in found):
        raise ValueError("a cluster's address names hosts, and no database but 0")
    return [urlunsplit(each) for each in found]


def open_cluster(urls: Sequence[str], options: dict[str, Any]) -> redis.RedisCluster:
    """Return a client of the cluster that `addresses` names. Raises `redis.RedisError`, `RedisClusterException`.

    These addresses are asked whenever the slots have moved, not those that the cluster told last: a cluster that came
    back elsewhere is found again by its names.
    """
    others = [_node(at["host"], at.get("port", 6379)) for at in map(parse_url, urls[1:])]
    return _Cluster(
        url=urls[0],
        startup_nodes=others,
        dynamic_startup_nodes=False,
        require_full_coverage=False,  # whoever asks for a slot that nobody has is told so
        retry=Retry(NoBackoff(), 0),
        **options,
    )


def first_cause(error: Exception) -> Exception:
    """Return what a server said where redis-py wraps it: that it could not ask anybody how the slots lie."""
    while isinstance(error, RedisClusterException):
        cause = error.__cause__ or error.__context__
        if not isinstance(cause, redis.RedisError | RedisClusterException):
            return error
        error = cause
    return error


def _node(host: str, port: int) -> ClusterNode:
    return ClusterNode(host, port, PRIMARY)  # type: ignore[no-untyped-call]  # redis-py gives this one no types


class _ScriptsByTheirKeys(StaticPolicyResolver):
    """Sends a script where its keys lie, as redis-py's client does outside of pipelines.

    Its pipeline asks the default node for the keys first, with all that the script is given, and so again for each; and
    where that node is gone it never asks how the slots lie.
    """

    def resolve(self, command_name: str) -> CommandPolicies | None:
        if command_name == "evalsha":
            return CommandPolicies(RequestPolicy.DEFAULT_KEYED, ResponsePolicy.DEFAULT_KEYED)
        return super().resolve(command_name)


class _Cluster(redis.RedisCluster):
    """redis-py's client, which finds a node without slots too: whoever asks for what moves to one is sent there (ASK).

    redis-py 8.1 knows only the nodes that have slots, and breaks off at None (its issue 4015).
    """

    def get_node(
        self, host: str | None = None, port: int | None = None, node_name: str | None = None
    ) -> ClusterNode | None:
        known: ClusterNode | None = super().get_node(host, port, node_name)  # type: ignore[no-untyped-call]
        if known is None and node_name is not None:
            place, _, number = node_name.rpartition(":")
            return _node(place, int(number))
        return known

    def pipeline(self, transaction: bool | None = None, shard_hint: None = None) -> ClusterPipeline:
        """Return redis-py's pipeline; what it sends again, one by one, it gives up when a node is silent once more."""
        pipe: ClusterPipeline = super().pipeline(transaction, shard_hint)  # type: ignore[no-untyped-call]
        silence: list[redis.RedisError] = []

        def send_again(*words: Any, **options: Any) -> Any:
            if silence:  # each would wait for a timeout of its own
                raise silence[0]
            try:
                return self.execute_command(*words, **options)  # type: ignore[no-untyped-call]
            except (redis.ConnectionError, redis.TimeoutError) as error:
                silence.append(error)
                raise

        pipe.parent_execute_command = send_again
        pipe._policy_resolver = _ScriptsByTheirKeys()  # noqa: SLF001 -- the library hands a client's own to no pipeline
        return pipe
