"""The registry of model versions in Redis.

    {<namespace>:model}:<g>:current    string  number of the live version
    {<namespace>:model}:<g>:<number>   string  the bundle's canonical JSON, never changed once written

Guarantee: versions are published by compare-and-set on `current`, so two leaders never publish the same
number; every version stays, so that any output record can be recomputed.
"""

from __future__ import annotations

from typing import Any

import redis

from features.redis_store import guarded
from models.bundle import Bundle, BundleError, decode, encode

_PUBLISH = """
-- KEYS 1 current, 2 the new version's bundle; ARGV 1 the expected number ('' for none), 2 the new number, 3 the bundle
local current = redis.call('GET', KEYS[1]) or ''
if current ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[3])
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""

_KEEP = """
-- KEYS 1 current, 2 the version's bundle; ARGV 1 its number, 2 the bundle
local found = redis.call('GET', KEYS[2])
if found then return found == ARGV[2] and 1 or 0 end
redis.call('SET', KEYS[2], ARGV[2])
if tonumber(redis.call('GET', KEYS[1]) or '0') < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1]) end
return 1
"""


class RedisRegistry:
    """Model versions of one namespace and generation."""

    def __init__(self, client: redis.Redis, namespace: str, generation: str) -> None:
        self._redis: Any = client
        self._prefix = f"{{{namespace}:model}}:{generation}:"
        self._publish = client.register_script(_PUBLISH)
        self._keep = client.register_script(_KEEP)

    def current(self) -> int | None:
        """Return the live version's number; None before the first. Raises `StoreError`."""
        found = guarded(lambda: self._redis.get(self._prefix + "current"))
        return None if found is None else int(found)

    def load(self, version: int) -> Bundle | None:
        """Return a version; None where it is unknown or damaged (the caller asks for a new one, PROTOCOL C7)."""
        found = guarded(lambda: self._redis.get(f"{self._prefix}{version}"))
        if found is None:
            return None
        try:
            return decode(found)
        except BundleError:
            return None

    def publish(self, bundle: Bundle, expected: int | None) -> bool:
        """Make `bundle` the live version if `expected` still is; return whether it was."""
        keys = [self._prefix + "current", f"{self._prefix}{bundle.version}"]
        args = ["" if expected is None else expected, bundle.version, encode(bundle)]
        return bool(guarded(lambda: self._publish(keys=keys, args=args)))

    def keep(self, bundle: Bundle) -> bool:
        """Put a version back that was live, if Redis lost it; False where its number went to another one meanwhile."""
        keys = [self._prefix + "current", f"{self._prefix}{bundle.version}"]
        return bool(guarded(lambda: self._keep(keys=keys, args=[bundle.version, encode(bundle)])))
