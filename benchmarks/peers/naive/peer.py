"""The job as a tutorial writes it: kafka-python, an event at a time, its state in Redis, river for the segment."""

from __future__ import annotations

import json

import redis
from kafka import KafkaConsumer, KafkaProducer
from river.cluster import KMeans

from benchmarks.peers.job import OUTSIDE, add, day_of, environment, features, model, put_out, scaled


def main() -> None:
    """Run until SIGTERM, which ends it at once."""
    given = model()
    clusters = KMeans(n_clusters=len(given["centroids"]), seed=1)
    for index, centroid in enumerate(given["centroids"]):
        clusters.centers[index].update(enumerate(centroid))
    store = redis.Redis.from_url(environment("REDIS"))
    consumer = KafkaConsumer(
        environment("INPUT"),
        bootstrap_servers=environment("KAFKA"),
        group_id=environment("OUTPUT"),
        auto_offset_reset="earliest",
        value_deserializer=json.loads,
    )
    producer = KafkaProducer(
        bootstrap_servers=environment("KAFKA"), value_serializer=lambda value: json.dumps(value).encode()
    )
    for record in consumer:
        event = record.value
        key = f"customer:{event['customer_id']}"
        state = json.loads(store.get(key) or '{"orders": {}, "segment": null}')
        add(state["orders"], event)
        found = features(state["orders"], day_of(event))
        x = scaled(found, given)
        now = OUTSIDE if x is None else clusters.predict_one(dict(enumerate(x)))  # type: ignore[no-untyped-call]
        if now != state["segment"]:
            state["segment"] = now
            producer.send(environment("OUTPUT"), key=record.key, value=put_out(event["customer_id"], now, found))
        store.set(key, json.dumps(state))


if __name__ == "__main__":
    main()
