"""What a worker tells: each event once, exact counters, honest readiness, and never an id."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest
from prometheus_client import Histogram
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from consumer.commands.running import probes
from consumer.observer import Turn
from consumer.partition import EVERYONE, PartitionState, Rewind, SnapshotRecord, Sweep
from consumer.ports import TransportError
from consumer.settings import Settings
from consumer.step import Decision
from consumer.telemetry.firstday import ENOUGH, Advisor
from consumer.telemetry.health import Health, HealthServer, health
from consumer.telemetry.metrics import LATENCY_BUCKETS, Metrics, names
from consumer.telemetry.telemetry import TROUBLE_LASTS_S, TROUBLE_SAID_EVERY_S, Telemetry
from features.store import Fenced, InvalidKey, StoreUnavailable
from models.checkup import Checkup
from models.finding import Finding
from models.population import Statistics
from models.sentinel_model import inspect_model
from tests.harness.world import FIRST_DAY, World, first_model, line

CANARY = "canary: id 4711"


class Log:
    """Keeps what it is told, as structlog's logger is called."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Callable[..., None]:
        def note(event: str, **values: Any) -> None:
            self.lines.append((level, event, values))

        return note

    def of(self, event: str) -> list[dict[str, Any]]:
        return [values for _, said, values in self.lines if said == event]


class Hands:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def told(hands: Hands | None = None) -> tuple[Telemetry, Log]:
    log = Log()
    return Telemetry(b"key", log, now=hands or Hands()), log


def decided(counters: Mapping[str, int], *, ended: bool = True, day: int = 100) -> Decision:
    sweep = Sweep(1, day, 1, "hash", None if ended else 5)
    return Decision(PartitionState(10, sweep, day * 86_400, counters=dict(counters)), Statistics.zeros(1, 1))


def scraped(metrics: Metrics) -> dict[tuple[str, ...], float]:
    from prometheus_client import generate_latest

    text = generate_latest(metrics.registry).decode()
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _of(metrics: Metrics, name: str) -> dict[str, float]:
    """Return a metric of one label."""
    return {key[1]: value for key, value in scraped(metrics).items() if key[0] == name}


def turn(arrived: Any, ended: float = 1.0, failure: TransportError | None = None) -> Turn:
    return Turn(ended, 0.1, 0.02, 0.03, 0.04, (0,), np.array(arrived, np.int64), iter(()), len(arrived), failure)


def fetched(port: int, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def checkup(inertia_ratio: float | None) -> Checkup:
    return Checkup(
        version=3,
        day=15_131,
        customers=4_000,
        silhouette=0.34,
        inertia_ratio=inertia_ratio,
        population={"monetary": 0.01},
        against=15_124,
        findings=tuple(inspect_model(15_131, {"Active": 9}, {}, inertia_ratio)),
        deciles={},
    )


class TestPrivacy:
    def test_no_id_leaves_through_any_door(self) -> None:
        telemetry, log = told()
        key = f"{{shop:3}}:1:c:{CANARY}"
        error = InvalidKey(key, "holds a list")
        telemetry.trouble("committing partition 3", error)
        telemetry.paused(3, str(error))
        telemetry.recovered(3, "in step", decided({}).state)
        found = health(telemetry, {}, frozenset({3}), {3: str(error)})
        everything = repr(log.lines) + repr(found) + repr(telemetry.trouble_now)
        assert "canary" not in everything
        assert "holds a list" in everything
        assert "#" in found.paused[3]

    def test_the_hash_is_keyed_and_the_same_each_time(self) -> None:
        text = f"{{shop:3}}:1:c:{CANARY}: no bytes"
        one, other = Telemetry(b"key", Log()), Telemetry(b"another", Log())
        assert one.redacted(text) == one.redacted(text) != other.redacted(text)

    def test_keys_that_name_nobody_stay_readable(self) -> None:
        telemetry, _ = told()
        assert telemetry.redacted("{shop:3}:1:index: wrong type") == "{shop:3}:1:index: wrong type"


class TestEvents:
    def test_a_takeover_after_a_loss_is_a_warning(self) -> None:
        telemetry, log = told()
        telemetry.recovered(0, "in step", decided({}).state)
        telemetry.recovered(1, "diverged", decided({}).state)
        assert [level for level, _, _ in log.lines] == ["info", "warning"]
        assert telemetry.verdicts == {"in step": 1, "diverged": 1}

    def test_a_long_outage_fills_no_log(self) -> None:
        hands = Hands()
        telemetry, log = told(hands)
        for _ in range(60):
            telemetry.trouble("the store", StoreUnavailable("down"))
            hands.now += 0.5
        assert len(log.of("trouble")) == 30 / TROUBLE_SAID_EVERY_S
        assert telemetry.troubles == {"StoreUnavailable": 60}

    def test_a_trouble_is_over_when_something_succeeds_or_it_does_not_come_again(self) -> None:
        hands = Hands()
        telemetry, _ = told(hands)
        telemetry.trouble("the store", StoreUnavailable("down"))
        known = [telemetry.trouble_now]
        telemetry.committed(0, decided({}))
        known.append(telemetry.trouble_now)
        telemetry.trouble("the store", StoreUnavailable("down"))
        hands.now += TROUBLE_LASTS_S
        known.append(telemetry.trouble_now)
        assert known == ["the store: down", None, None]

    def test_the_end_of_the_last_sweep_is_told_once(self) -> None:
        ends: list[dict[int, bool]] = []

        def swept() -> None:
            ends.append({partition: state.sweep.ended for partition, state in telemetry.partitions.items()})

        telemetry = Telemetry(b"key", Log(), on_swept=swept)
        last = replace(decided({}), snapshot=SnapshotRecord(1, 100, 1, b"", 1.0))
        telemetry.committed(0, decided({}, ended=False))
        telemetry.committed(1, last)
        telemetry.lagging({})
        assert ends == []
        telemetry.committed(0, last)
        for _ in range(2):
            telemetry.lagging({})
        assert ends == [{0: True, 1: True}]
        telemetry.committed(2, decided({}, ended=False))
        telemetry.released(2)
        telemetry.committed(1, last)
        telemetry.lagging({})
        assert len(ends) == 2, "a partition that went elsewhere in its sweep holds nothing up"

    def test_a_model_is_told_with_its_sizes(self) -> None:
        telemetry, log = told()
        telemetry.model_published(first_model(), 2)
        (said,) = log.of("model published")
        assert (said["version"], said["late_partitions"], said["sizes"]) == (1, 2, {"Active": 1, "Dormant": 1})

    def test_a_finding_is_said_once_an_episode_and_counted_while_it_lasts(self) -> None:
        telemetry, log = told()
        metrics = Metrics(lambda: frozenset({0}))
        metrics.of(telemetry)
        first, second = date(2011, 6, 3), date(2011, 6, 4)
        found = Finding(
            severity="alarm", kind="level", measure="unit price", direction="up", day=first, since=first,
            expected=2.0, found=6.0, message="typically 6.00", advice="compare",
        )  # fmt: skip
        telemetry.judged(first, [found])
        telemetry.judged(second, [msgspec.structs.replace(found, day=second)])
        (said,) = log.of("input looks odd")
        assert (said["day"], said["measure"], said["found"]) == ("2011-06-03", "unit price", "typically 6.00")
        assert log.lines[0][0] == "error"
        assert scraped(metrics)["segmenter_findings", "alarm", "level"] == 1
        telemetry.judged(second, [])
        assert scraped(metrics)["segmenter_findings", "alarm", "level"] == 0

    def test_a_checkup_is_told_by_its_findings_and_measured_by_its_figures(self) -> None:
        telemetry, log = told()
        metrics = Metrics(lambda: frozenset({0}))
        metrics.of(telemetry)
        found = checkup(inertia_ratio=1.05)
        telemetry.checked_up(found)
        (said,) = log.of("model looks odd")
        assert (said["version"], said["kind"], said["severity"], said["day"]) == (3, "inertia", "alarm", "2011-06-06")
        assert log.lines[0][0] == "error"
        scrape = scraped(metrics)
        assert scrape["segmenter_model_inertia_ratio",] == 1.05
        assert scrape["segmenter_model_silhouette",] == 0.34
        assert scrape["segmenter_population_stability", "monetary"] == 0.01
        assert scrape["segmenter_model_findings", "alarm", "inertia"] == 1
        assert scrape["segmenter_model_findings", "alarm", "cluster"] == 0
        telemetry.checked_up(checkup(inertia_ratio=None))
        scrape = scraped(metrics)
        assert ("segmenter_model_inertia_ratio",) not in scrape
        assert scrape["segmenter_model_findings", "alarm", "inertia"] == 0
        assert len(log.of("model looks odd")) == 1

    def test_only_the_worker_that_leads_tells_of_findings(self) -> None:
        telemetry, _ = told()
        telemetry.checked_up(checkup(inertia_ratio=1.05))
        metrics = Metrics(lambda: frozenset({1}))
        metrics.of(telemetry)
        names_told = {name[0] for name in scraped(metrics)}
        assert not names_told & {"segmenter_findings", "segmenter_model_findings", "segmenter_model_silhouette"}


class TestFirstDay:
    @pytest.mark.parametrize(
        ("counter", "words"),
        [
            ("refused.too_late", "--clock event"),
            ("refused.before_cutoff", "--clock event"),
            ("refused.future", "time zone"),
            ("refused.key_missing", "murmur2"),
            ("refused.foreign_partition", "murmur2"),
            ("refused.malformed", "right topic"),
            ("refused.currency", "SEGMENTER_CURRENCY"),
            ("guests", "without a customer_id"),
        ],
    )
    def test_a_mistake_is_named_once(self, counter: str, words: str) -> None:
        telemetry, log = told()
        for lines in (0, ENOUGH, 2 * ENOUGH):
            telemetry.committed(0, decided({"lines": lines, counter: lines}))
        (said,) = log.of("is this meant?")
        assert words in said["advice"]
        assert str(ENOUGH) in said["advice"]

    def test_a_healthy_stream_hears_nothing(self) -> None:
        before = {"lines": 0}
        after = {"lines": 10_000, "applied": 9_000, "guests": 900, "refused.too_late": 60, "refused.price": 40}
        assert list(Advisor().hear(before, after)) == []

    def test_one_customer_in_a_foreign_partition_is_enough(self) -> None:
        (advice,) = Advisor().hear({}, {"lines": 5, "refused.foreign_partition": 1})
        assert "murmur2" in advice

    def test_few_lines_say_nothing_yet(self) -> None:
        assert list(Advisor().hear({}, {"lines": ENOUGH - 1, "refused.too_late": ENOUGH - 1})) == []

    def test_what_was_counted_before_this_worker_is_not_its_matter(self) -> None:
        telemetry, log = told()
        history = {"lines": 5_000, "refused.too_late": 5_000}
        telemetry.committed(0, decided(history))
        telemetry.committed(0, decided(history | {"lines": 5_200, "applied": 200}))
        assert log.of("is this meant?") == []


class TestMetrics:
    def test_the_counters_are_the_partitions_own(self) -> None:
        """What a world of two partitions did, counted by hand, is what Prometheus reads."""
        world = World(partitions=2)
        telemetry, _ = told()
        metrics = Metrics(lambda: frozenset({0, 1}))
        metrics.of(telemetry)
        world.publish(*(line(f"c{i}", FIRST_DAY) for i in range(5)), line(None, FIRST_DAY))
        world.publish(line("c0", FIRST_DAY, unit_price=-1.0))
        world.publish(line("c1", FIRST_DAY, event_id="e1"), line("c1", FIRST_DAY, event_id="e1"))
        worker = world.worker()
        worker._observer = telemetry
        world.settle(worker)
        found = scraped(metrics)
        outcome = {
            name: sum(v for k, v in found.items() if k[0] == "segmenter_records_total" and name in k)
            for name in ("applied", "repeated", "guests")
        }
        assert outcome == {"applied": 6, "repeated": 1, "guests": 1}
        assert sum(v for k, v in found.items() if k[0] == "segmenter_refused_total" and "price" in k) == 1
        assert sum(v for k, v in found.items() if k[0] == "segmenter_moves_total") == 5

    def test_a_partition_that_went_elsewhere_is_no_longer_shown(self) -> None:
        telemetry, _ = told()
        held = {0, 1}
        metrics = Metrics(lambda: frozenset(held))
        metrics.of(telemetry)
        for partition in (0, 1):
            telemetry.committed(partition, decided({"lines": 1, "applied": 1}))
        held.remove(1)
        assert {k[-1] for k in scraped(metrics) if k[0] == "segmenter_day"} == {"0"}

    def test_a_pause_and_its_end_are_shown(self) -> None:
        telemetry, _ = told()
        metrics = Metrics(frozenset)
        metrics.of(telemetry)
        telemetry.paused(2, "no room")
        assert scraped(metrics)["segmenter_paused", "2"] == 1
        telemetry.resumed(2)
        assert ("segmenter_paused", "2") not in scraped(metrics)

    def test_a_stall_is_an_error_and_counted_by_what_was_tried(self) -> None:
        telemetry, log = told()
        metrics = Metrics(frozenset)
        metrics.of(telemetry)
        for remedy in ("seek", "seek", "rejoin"):
            telemetry.stalled(1, remedy)
        assert log.lines[-1] == ("error", "consumer stalled", {"partition": 1, "remedy": "rejoin"})
        found = scraped(metrics)
        assert (found["segmenter_stalls_total", "seek"], found["segmenter_stalls_total", "rejoin"]) == (2, 1)

    def test_latencies_are_counted_as_the_library_counts_them_one_by_one(self) -> None:
        """The oracle is prometheus-client's own histogram, told each record."""
        ended = 1_700_000_000.0
        random = np.random.default_rng(1)
        arrived = (ended * 1000 - np.r_[random.exponential(3_000, 500), 0, 50, 100, 1_800_000, 9e9]).astype(np.int64)
        oracle = Histogram("oracle", "", buckets=LATENCY_BUCKETS, registry=None)
        for at in arrived.tolist():
            oracle.observe(ended - at / 1000)
        metrics = Metrics(frozenset)
        metrics.turned(turn(arrived[:200], ended))
        metrics.turned(turn(arrived[200:], ended))
        found = scraped(metrics)
        for sample in next(iter(oracle.collect())).samples:
            if sample.name != "oracle_created":
                name = sample.name.replace("oracle", "segmenter_latency_seconds")
                assert found[name, *sample.labels.values()] == pytest.approx(sample.value, rel=1e-9), sample

    def test_a_record_from_the_future_waited_for_nothing_and_one_without_a_time_is_not_counted(self) -> None:
        metrics = Metrics(frozenset)
        metrics.turned(turn([5_000, -1, -(1 << 63), (1 << 63) - 1], ended=2.0))
        found = scraped(metrics)
        assert found["segmenter_latency_seconds_count",] == found["segmenter_latency_seconds_bucket", "0.05"] == 2
        assert found["segmenter_latency_seconds_sum",] == 0

    def test_a_turn_that_was_not_published_has_no_latency_yet(self) -> None:
        metrics = Metrics(frozenset)
        metrics.turned(turn([0, 0], failure=TransportError("no replicas", retriable=True)))
        found = scraped(metrics)
        assert found["segmenter_latency_seconds_count",] == found["segmenter_publish_seconds_count",] == 0
        assert found["segmenter_commit_seconds_count",] == 1

    def test_an_outbox_ages_until_it_is_published_by_whomever(self) -> None:
        hands = Hands()
        telemetry, _ = told(hands)
        metrics = Metrics(lambda: frozenset({0, 1, 2}))
        metrics.of(telemetry)
        for partition in (0, 1, 2):
            telemetry.written(partition)
        hands.now += 7
        telemetry.written(0)  # the same commit, tried again
        assert _of(metrics, "segmenter_outbox_age_seconds") == {"0": 7, "1": 7, "2": 7}
        telemetry.committed(0, decided({}))
        telemetry.recovered(1, "republish", decided({}).state)
        telemetry.released(2)
        assert _of(metrics, "segmenter_outbox_age_seconds") == {"0": 0, "1": 0, "2": 0}

    def test_a_partition_is_shown_from_its_takeover_on_with_what_was_counted_before(self) -> None:
        telemetry, _ = told()
        metrics = Metrics(lambda: frozenset({0}))
        metrics.of(telemetry)
        telemetry.recovered(0, "in step", decided({"lines": 7, "applied": 7}, day=100).state)
        found = scraped(metrics)
        assert (found["segmenter_records_total", "0", "applied"], found["segmenter_day", "0"]) == (7, 100)
        assert found["segmenter_model_version",] == 1

    def test_the_lag_of_what_is_held_is_shown(self) -> None:
        telemetry, _ = told()
        metrics = Metrics(lambda: frozenset({0}))
        metrics.of(telemetry)
        telemetry.lagging({0: 12, 1: 5})
        assert _of(metrics, "segmenter_lag_records") == {"0": 12}

    def test_fences_are_counted_by_who_told_of_them(self) -> None:
        telemetry, _ = told()
        metrics = Metrics(frozenset)
        metrics.of(telemetry)
        telemetry.trouble("committing", Fenced("epoch 4"))
        telemetry.trouble("publishing", TransportError("fenced", retriable=True, fenced=True))
        telemetry.trouble("publishing", TransportError("slow", retriable=True))
        assert _of(metrics, "segmenter_fenced_total") == {"kafka": 1, "redis": 1}

    def test_a_sweep_shows_how_far_it_is_and_a_rewind_that_it_was(self) -> None:
        telemetry, _ = told()
        metrics = Metrics(lambda: frozenset({0, 1}))
        metrics.of(telemetry)
        running = Sweep(2, 100, 1, "hash", EVERYONE // 4 - 1)
        rewinds = (Rewind(2, 5, 1, None), Rewind(3, 9, 1, None))
        state = PartitionState(10, running, 0, rewinds=rewinds)
        telemetry.committed(0, Decision(state, Statistics.zeros(1, 1)))
        telemetry.committed(1, decided({}))
        assert _of(metrics, "segmenter_sweep_progress") == {"0": 0.25, "1": 1.0}
        assert _of(metrics, "segmenter_rewinds_total") == {"0": 2, "1": 0}

    def test_the_newest_event_ages_in_the_shops_own_time(self) -> None:
        telemetry, _ = told()
        noon_utc = datetime(2024, 7, 1, 12, tzinfo=UTC).timestamp()
        metrics = Metrics(lambda: frozenset({0}), zone=ZoneInfo("Europe/London"), now=lambda: noon_utc)
        metrics.of(telemetry)
        at_half_past_twelve_in_london = int(datetime(2024, 7, 1, 12, 30, tzinfo=UTC).timestamp())
        sweep = Sweep(1, 19_905, 1, "hash", None)
        telemetry.committed(
            0, Decision(PartitionState(1, sweep, at_half_past_twelve_in_london), Statistics.zeros(1, 1))
        )
        assert _of(metrics, "segmenter_newest_event_age_seconds") == {"0": 1_800}

    def test_ready_and_what_it_is_are_shown(self) -> None:
        ready = [True]
        metrics = Metrics(frozenset, info={"version": "1.2", "clock": "wall"}, ready=lambda: ready[0])
        assert scraped(metrics)["segmenter_info", "1.2", "wall"] == 1
        assert scraped(metrics)["segmenter_ready",] == 1
        ready[0] = False
        assert scraped(metrics)["segmenter_ready",] == 0

    def test_every_name_begins_with_the_services(self) -> None:
        assert len(names()) >= 15
        assert all(name.startswith("segmenter_") for name in names())


class TestHealth:
    def test_ready_when_every_part_answers_and_nothing_stands_still(self) -> None:
        telemetry, _ = told()
        telemetry.committed(0, decided({}))
        found = health(telemetry, {"kafka": lambda: None, "redis": lambda: None}, frozenset({0}), {})
        assert found.ready
        assert found.partitions[0]["day"] == str(date(1970, 1, 1) + timedelta(days=100))

    @pytest.mark.parametrize("part", ["kafka", "redis"])
    def test_not_ready_while_a_part_does_not_answer(self, part: str) -> None:
        telemetry, _ = told()
        probes: dict[str, Callable[[], str | None]] = {"kafka": lambda: None, "redis": lambda: None}
        found = health(telemetry, probes | {part: lambda: "refused"}, frozenset(), {})
        assert (found.ready, found.parts[part]) == (False, "refused")

    def test_not_ready_before_there_is_a_state(self) -> None:
        telemetry, _ = told()
        telemetry.paused(-1, "no state yet")
        assert not health(telemetry, {}, frozenset(), {}).ready
        telemetry.resumed(-1)
        assert health(telemetry, {}, frozenset(), {}).ready

    def test_not_ready_while_a_partition_stands_still_and_the_reason_is_given(self) -> None:
        telemetry, _ = told()
        found = health(telemetry, {}, frozenset({1}), {1: "the topic is gone"})
        assert (found.ready, found.paused) == (False, {1: "the topic is gone"})

    def test_a_pause_of_a_partition_that_went_elsewhere_does_not_count(self) -> None:
        telemetry, _ = told()
        telemetry.paused(1, "the topic is gone")
        assert health(telemetry, {}, frozenset({0}), {}).ready

    def test_livez_asks_nobody_and_readyz_says_503(self) -> None:
        def broken() -> Health:
            return Health(False, {"redis": "refused"}, {}, None, {})

        with HealthServer("127.0.0.1", 0, broken, Metrics(frozenset).registry) as server:
            assert fetched(server.port, "/livez")[0] == 200
            status, body = fetched(server.port, "/readyz")
            assert (status, json.loads(body)["parts"]) == (503, {"redis": "refused"})
            assert fetched(server.port, "/nothing")[0] == 404

    def test_metrics_are_served_in_prometheus_text_format(self) -> None:
        metrics = Metrics(frozenset)
        metrics.turned(turn([]))
        ready = Health(True, {}, {}, None, {})
        with HealthServer("127.0.0.1", 0, lambda: ready, metrics.registry) as server:
            assert fetched(server.port, "/readyz")[0] == 200
            status, body = fetched(server.port, "/metrics")
        families = {family.name for family in text_string_to_metric_families(body.decode())}
        assert status == 200
        assert "segmenter_publish_seconds" in families

    def test_livez_answers_while_readiness_waits_for_a_part_that_is_silent(self) -> None:
        asked, answered = threading.Event(), threading.Event()

        def silent() -> Health:
            asked.set()
            answered.wait(60)
            return Health(False, {"redis": "timed out"}, {}, None, {})

        with HealthServer("127.0.0.1", 0, silent, Metrics(frozenset).registry) as server:
            waiting = threading.Thread(target=fetched, args=(server.port, "/readyz"))
            waiting.start()
            try:
                assert asked.wait(60)
                assert fetched(server.port, "/livez")[0] == 200
            finally:
                answered.set()
                waiting.join()

    def test_not_ready_while_something_is_being_retried_and_ready_when_it_is_over(self) -> None:
        hands = Hands()
        telemetry, _ = told(hands)
        telemetry.trouble("the store", StoreUnavailable("down"))
        found = health(telemetry, {}, frozenset(), {})
        assert (found.ready, found.trouble) == (False, "the store: down")
        hands.now += TROUBLE_LASTS_S
        assert health(telemetry, {}, frozenset(), {}).ready

    def test_not_ready_while_an_operator_has_everything_stand_still(self) -> None:
        telemetry, _ = told()
        telemetry.paused(-1, "wrong prices since noon")
        found = health(telemetry, {}, frozenset({0}), {})
        assert (found.ready, found.paused) == (False, {-1: "wrong prices since noon"})

    def test_readiness_finds_that_neither_kafka_nor_redis_is_there_and_says_where(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]  # free again at once: nobody answers there
        settings = Settings(
            _env_file=None, kafka_bootstrap=f"127.0.0.1:{port}", redis_url=SecretStr(f"redis://127.0.0.1:{port}/0")
        )
        found = {name: probe() for name, probe in probes(settings).items()}
        assert found.keys() == {"kafka", "redis"}
        assert f"127.0.0.1:{port}" in (found["kafka"] or "")
        assert found["redis"]

    def test_one_broker_of_several_is_enough(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            free, there = "127.0.0.1:1", f"127.0.0.1:{server.getsockname()[1]}"
            settings = Settings(_env_file=None, kafka_bootstrap=f"{free},{there}")
            assert probes(settings)["kafka"]() is None
