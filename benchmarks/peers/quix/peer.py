"""The job on Quix Streams: a stateful function of a dataframe, its state in RocksDB with a changelog, exactly once."""

from __future__ import annotations

from typing import Any

from quixstreams import Application, State

from benchmarks.peers.job import add, day_of, environment, features, model, put_out, segment

MODEL = model()


def advance(event: dict[str, Any], state: State) -> dict[str, Any] | None:
    """Return what is to be put out, if anything."""
    orders = state.get("orders", default={})
    add(orders, event)
    state.set("orders", orders)
    found = features(orders, day_of(event))
    now = segment(found, MODEL)
    if now == state.get("segment"):
        return None
    state.set("segment", now)
    return put_out(event["customer_id"], now, found)


def main() -> None:
    """Run until SIGTERM."""
    app = Application(
        broker_address=environment("KAFKA"),
        consumer_group=environment("OUTPUT"),
        auto_offset_reset="earliest",
        state_dir=environment("STATE"),
        processing_guarantee="exactly-once",
        loglevel="WARNING",
    )
    frame = app.dataframe(app.topic(environment("INPUT"), value_deserializer="json"))
    frame = frame.apply(advance, stateful=True).filter(lambda found: found is not None)
    frame.to_topic(app.topic(environment("OUTPUT"), value_serializer="json"))
    app.run()


if __name__ == "__main__":
    main()
