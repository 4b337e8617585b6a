"""Credentials reach the clients and nothing else."""

from __future__ import annotations

from consumer.commands.running import END_WITHIN_S
from consumer.transport.kafka_settings import AGAIN_S, KafkaSettings
from consumer.transport.kafka_source import LEAVE_S, SourceTuning
from consumer.transport.kafka_transaction import OPEN_TIMEOUT_S, PUBLISH_TIMEOUT_S

SECURE = KafkaSettings(
    "a:9092, b:9092",
    security_protocol="SASL_SSL",
    sasl_mechanism="SCRAM-SHA-512",
    sasl_user="segmenter",
    sasl_password="canary",
    ssl_cafile="/ca.pem",
)


def test_password_is_shown_nowhere() -> None:
    assert "canary" not in f"{SECURE!r} {SECURE}"


def test_credentials_and_addresses_reach_the_client() -> None:
    client = SECURE.client()
    assert client["bootstrap_servers"] == ["a:9092", "b:9092"]
    assert (client["security_protocol"], client["sasl_mechanism"]) == ("SASL_SSL", "SCRAM-SHA-512")
    assert (client["sasl_plain_username"], client["sasl_plain_password"]) == ("segmenter", "canary")
    assert client["ssl_cafile"] == "/ca.pem"


def test_consumers_see_committed_records_only_and_commit_nothing_by_themselves() -> None:
    reading = SECURE.reading()
    assert reading["isolation_level"] == "read_committed"
    assert reading["auto_offset_reset"] == "none"
    assert (reading["enable_auto_commit"], reading["allow_auto_create_topics"]) == (False, False)


def test_checksums_are_left_out_on_the_embedded_broker_only() -> None:
    embedded = KafkaSettings("a:1", embedded=True)
    assert (SECURE.reading()["check_crcs"], SECURE.client()["api_version"]) == (True, None)
    assert (embedded.reading()["check_crcs"], embedded.client()["api_version"]) == (False, (2, 1))


def test_one_more_client_looks_for_a_broker_no_longer_than_it_has_to() -> None:
    assert SECURE.again().client() == SECURE.client() | {"bootstrap_timeout_ms": int(AGAIN_S * 1000)}
    assert KafkaSettings("a:1", connect_timeout_s=1.0).again().client()["bootstrap_timeout_ms"] == 1_000


def test_whatever_a_turn_waits_for_leaves_time_to_end_in() -> None:
    closing = LEAVE_S + 2 * 1.0  # the group, and the reader's two connections
    waits = (AGAIN_S + OPEN_TIMEOUT_S, AGAIN_S + SourceTuning().call_timeout_s, PUBLISH_TIMEOUT_S)
    assert all(wait + closing < END_WITHIN_S for wait in waits)
