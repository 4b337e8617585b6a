"""The trace in which an input record came, carried on to what the record caused (docs/decisions/0021).

    producer's span --traceparent--> transactions --traceparent, as it came--> customer-segments, dead letters

https://www.w3.org/TR/trace-context-1/ section 3.2: version 00, 55 characters, `00-<trace id>-<span id>-<flags>`.

Guarantee: nothing but a well-formed header is passed on, and it is kept with the outbox: a record that is published
again after a crash has the same one, whether or not this worker makes traces itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from consumer.messages import OFFSET, Emission, Outbox
from consumer.ports import InputRecord

Headers = tuple[tuple[str, bytes], ...]

TRACEPARENT = "traceparent"
_WELL_FORMED = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def carried(headers: Iterable[tuple[str, bytes]]) -> Headers:
    """Return the header that leads on, alone; nothing where there is none, a malformed one, or more than one."""
    found = [value for name, value in headers if name == TRACEPARENT]
    return ((TRACEPARENT, found[0]),) if len(found) == 1 and _WELL_FORMED.fullmatch(found[0]) else ()


def traced(outbox: Outbox, records: Mapping[int, InputRecord]) -> Outbox:
    """Return an outbox whose segment records carry the trace of their input records, by offset in `records`.

    Of several events of a customer it is the last one that counted, for its offset is the record's. What a turn of the
    day caused has none. An erasure's mark has none either: it says nothing of whose it is, and a trace might.
    """
    return Outbox(tuple(_traced(each, records) for each in outbox.emissions), outbox.dead)


def _traced(emission: Emission, records: Mapping[int, InputRecord]) -> Emission:
    name, offset = emission.headers[0]
    if name != OFFSET or emission.to != "segments":
        return emission
    record = records[int(offset)]
    more = carried(record.headers) if record.headers else ()
    return msgspec.structs.replace(emission, headers=(*emission.headers, *more)) if more else emission
