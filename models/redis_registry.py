"""The registry of model versions in Redis.

    {<namespace>:model}:<g>:current    string  number of the live version
    {<namespace>:model}:<g>:<number>   string  the bundle's canonical JSON, never changed once written
    {<namespace>:model}:<g>:hashes     hash    number -> content hash; bytes that have another are refused by name
    {<namespace>:model}:<g>:promoted   string  number of the version that a person chose last (features.orders)
    {<namespace>:model}:<g>:candidates hash    name -> JSON, `Candidate`: proposed, live at no time; the newest few
    {<namespace>:model}:<g>:checkups   hash    number -> JSON, `Checkup`: what the leader saw of a version, once a week

Guarantee: versions are published by compare-and-set on `current`, so two leaders never publish the same
number; every version stays, so that any output record can be recomputed.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from features.redis_store import Client, guarded
from features.store import InvalidKey
from models.bundle import Bundle, BundleError, content_hash, decode, encode, validate
from models.candidate import CANDIDATES, Candidate, pending
from models.checkup import Checkup

_NUMBER = re.compile(rb"[1-9]\d{0,15}")

_PUBLISH = """
-- KEYS 1 current, 2 the new version's bundle, 3 hashes, 4 promoted
-- ARGV 1 the expected number ('' for none), 2 the new number, 3 the bundle, 4 its hash, 5 '1': a person chose it
local current = redis.call('GET', KEYS[1]) or ''
if current ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[3], ARGV[2], ARGV[4])
redis.call('SET', KEYS[2], ARGV[3])
redis.call('SET', KEYS[1], ARGV[2])
if ARGV[5] == '1' then redis.call('SET', KEYS[4], ARGV[2]) end
return 1
"""

_PROPOSE = """
-- KEYS 1 candidates; ARGV 1 the candidate, 2 how many are kept. A name is a number, one above the greatest.
local newest = 0
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do newest = math.max(newest, tonumber(name)) end
redis.call('HSET', KEYS[1], newest + 1, ARGV[1])
redis.call('HDEL', KEYS[1], newest + 1 - ARGV[2])
return newest + 1
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

    def __init__(self, client: Client, namespace: str, generation: str) -> None:
        self._redis: Any = client
        self._prefix = f"{{{namespace}:model}}:{generation}:"
        self._publish = client.register_script(_PUBLISH)
        self._keep = client.register_script(_KEEP)
        self._propose = client.register_script(_PROPOSE)

    def current(self) -> int | None:
        """Return the live version's number; None before the first. Raises `StoreError`."""
        return self._number("current")

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

    def publish(self, bundle: Bundle, expected: int | None, *, promoted: bool = False) -> bool:
        """Make `bundle` the live version if `expected` still is; return whether it was.

        promoted: everybody is swept under it at once, not at the next turn of the day.
        """
        over = "" if expected is None else expected
        args: list[Any] = [over, bundle.version, encode(bundle), content_hash(bundle), "1" if promoted else ""]
        keys = [*self._keys(bundle), self._prefix + "promoted"]
        return bool(guarded(lambda: self._publish(keys=keys, args=args)))

    def versions(self) -> list[int]:
        """Return the numbers of all versions that are kept, in their order."""
        found: list[bytes] = guarded(lambda: self._redis.hkeys(self._prefix + "hashes"))
        return sorted(int(number) for number in found)

    def propose(self, candidate: Candidate) -> int:
        """Keep a candidate and return its name, a number; the oldest above `CANDIDATES` gives way."""
        args: list[Any] = [msgspec.json.encode(candidate), CANDIDATES]
        name: int = guarded(lambda: self._propose(keys=[self._prefix + "candidates"], args=args))
        return name

    def candidates(self) -> dict[int, Candidate]:
        """Return the candidates by name, the oldest first. Raises `InvalidKey` where one is none."""
        key = self._prefix + "candidates"
        found: dict[bytes, bytes] = guarded(lambda: self._redis.hgetall(key), key.encode())
        try:
            read = {int(name): msgspec.json.decode(data, type=Candidate) for name, data in found.items()}
            for candidate in read.values():
                validate(candidate.bundle)
        except (ValueError, msgspec.DecodeError) as error:
            raise InvalidKey(key, f"holds what is no candidate: {error}") from error
        return dict(sorted(read.items()))

    def pending(self) -> dict[int, Candidate]:
        """Return the candidates that wait for a person, by name. Raises `InvalidKey`."""
        return pending(self.candidates(), self._number("promoted"))

    def note(self, checkup: Checkup) -> None:
        """Keep the checkup of a version."""
        data = msgspec.json.encode(checkup)
        guarded(lambda: self._redis.hset(self._prefix + "checkups", checkup.version, data))

    def checkups(self) -> dict[int, Checkup]:
        """Return all checkups by version, in their order. Raises `InvalidKey` where one is none."""
        key = self._prefix + "checkups"
        found: dict[bytes, bytes] = guarded(lambda: self._redis.hgetall(key), key.encode())
        try:
            read = {int(version): msgspec.json.decode(data, type=Checkup) for version, data in found.items()}
        except (ValueError, msgspec.DecodeError) as error:
            raise InvalidKey(key, f"holds what is no checkup: {error}") from error
        return dict(sorted(read.items()))

    def keep(self, bundle: Bundle) -> bool:
        """Put a version back that was live, if Redis lost or damaged it; False where its number went to another one."""
        args: list[Any] = [bundle.version, encode(bundle), content_hash(bundle)]
        return bool(guarded(lambda: self._keep(keys=self._keys(bundle), args=args)))

    def _number(self, name: str) -> int | None:
        key = self._prefix + name
        found: bytes | None = guarded(lambda: self._redis.get(key), key.encode())
        if found is not None and not _NUMBER.fullmatch(found):
            raise InvalidKey(key, "is no number of a model")
        return None if found is None else int(found)

    def _keys(self, bundle: Bundle) -> list[str]:
        return [self._prefix + name for name in ("current", str(bundle.version), "hashes")]
