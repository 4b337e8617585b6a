"""The registry of model versions in Redis.

    {<namespace>:model}:<g>:current    string  number of the live version
    {<namespace>:model}:<g>:<number>   string  the bundle's canonical JSON, never changed once written
    {<namespace>:model}:<g>:hashes     hash    number -> content hash; bytes that have another are refused by name

Guarantee: versions are published by compare-and-set on `current`, so two leaders never publish the same
number; every version stays, so that any output record can be recomputed.
"""

from __future__ import annotations

import re
from typing import Any

import redis

from features.redis_store import guarded
from features.store import InvalidKey
from models.bundle import Bundle, BundleError, content_hash, decode, encode

_NUMBER = re.compile(rb"[1-9]\d{0,15}")

_PUBLISH = """
-- KEYS 1 current, 2 the new version's bundle, 3 hashes
-- ARGV 1 the expected number ('' for none), 2 the new number, 3 the bundle, 4 its hash
local current = redis.call('GET', KEYS[1]) or ''
if current ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[3], ARGV[2], ARGV[4])
redis.call('SET', KEYS[2], ARGV[3])
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""

_KEEP = """
-- KEYS 1 current, 2 the version's bundle, 3 hashes; ARGV 1 its number, 2 the bundle, 3 its hash
local found, hash = redis.call('GET', KEYS[2]), redis.call('HGET', KEYS[3], ARGV[1])
if found == ARGV[2] then return 1 end
if found and hash ~= ARGV[3] then return 0 end  -- else its bytes are damaged, and ours are the right ones
redis.call('HSET', KEYS[3], ARGV[1], ARGV[3])
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
        key = self._prefix + "current"
        found: bytes | None = guarded(lambda: self._redis.get(key), key.encode())
        if found is not None and not _NUMBER.fullmatch(found):
            raise InvalidKey(key, "is no number of a model")
        return None if found is None else int(found)

    def load(self, version: int) -> Bundle | None:
        """Return a version, None where there is none (the caller asks for a new one, PROTOCOL C7).

        Raises `InvalidKey` where its bytes are no model, another one, or not those that were published.
        """
        key, hashes = f"{self._prefix}{version}", self._prefix + "hashes"
        found: bytes | None = guarded(lambda: self._redis.get(key), key.encode())
        if found is None:
            return None
        known: bytes | None = guarded(lambda: self._redis.hget(hashes, str(version)), hashes.encode())
        try:
            bundle = decode(found)
        except BundleError as error:
            raise InvalidKey(key, str(error)) from error
        if bundle.version != version or (known is not None and known.decode("latin-1") != content_hash(bundle)):
            raise InvalidKey(key, "is not the model that was published under this number")
        return bundle

    def publish(self, bundle: Bundle, expected: int | None) -> bool:
        """Make `bundle` the live version if `expected` still is; return whether it was."""
        over = "" if expected is None else expected
        args: list[Any] = [over, bundle.version, encode(bundle), content_hash(bundle)]
        return bool(guarded(lambda: self._publish(keys=self._keys(bundle), args=args)))

    def keep(self, bundle: Bundle) -> bool:
        """Put a version back that was live, if Redis lost or damaged it; False where its number went to another one."""
        args: list[Any] = [bundle.version, encode(bundle), content_hash(bundle)]
        return bool(guarded(lambda: self._keep(keys=self._keys(bundle), args=args)))

    def _keys(self, bundle: Bundle) -> list[str]:
        return [self._prefix + name for name in ("current", str(bundle.version), "hashes")]
