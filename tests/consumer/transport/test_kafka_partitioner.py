"""A key's partition is the one that Java producers choose."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2 as library_murmur2

from consumer.transport.kafka_partitioner import murmur2, partition_of, partitions_of

# From Apache Kafka's UtilsTest.testMurmur2: Java's signed integers.
JAVA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize("key", JAVA)
def test_hash_is_javas(key: bytes) -> None:
    assert int(np.uint32(murmur2(key)).view(np.int32)) == JAVA[key]


@given(st.binary(max_size=100))
def test_hash_is_the_librarys(key: bytes) -> None:
    assert murmur2(key) == library_murmur2(key)


@given(st.binary(max_size=40), st.integers(1, 100))
def test_partition_is_the_positive_hash_modulo_the_partitions(key: bytes, partitions: int) -> None:
    assert partition_of(key, partitions) == (library_murmur2(key) & 0x7FFFFFFF) % partitions


@given(st.lists(st.binary(max_size=20)), st.integers(1, 50))
def test_many_keys_at_once_are_the_same_as_one_by_one(keys: list[bytes], partitions: int) -> None:
    assert partitions_of(keys, partitions).tolist() == [partition_of(key, partitions) for key in keys]
