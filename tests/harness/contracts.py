"""The contracts of contracts/: JSON Schemas and an AsyncAPI document, made from the code and from docs/topics.md.

    types           the structs that decode the input and encode the output
    limits, lists   the constants and enums that the code refuses by
    descriptions    the tables of docs/topics.md, so that there is one wording

Draft 7 of JSON Schema, because every tool for AsyncAPI 3 must read that one. A pattern ends in END, not in `$`, which
in Python and Java matches before a final line break too.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from consumer.messages import SegmentRecord
from consumer.publication import REDRIVEN
from consumer.settings import Settings
from consumer.step import Mark
from consumer.traceparent import TRACEPARENT
from consumer.transport.kafka_admin import our_topics
from features import decoding, transaction
from features.identity import MAX_ID_BYTES
from features.ledger import MONEY
from features.transaction import Reason
from features.vector import NAMES

Schema = dict[str, Any]

REPOSITORY = Path(__file__).parents[2]
TOPICS_PAGE = REPOSITORY / "docs" / "topics.md"
FOLDER = REPOSITORY / "contracts"

END = r"(?![\s\S])"
DATE = r"(?!0000)[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?"
MOMENT = rf"^{DATE}[Tt ]{CLOCK}([Zz]|[+-]([01][0-9]|2[0-3]):?[0-5][0-9])?{END}"
WHOLE = r"^-?[0-9]+" + END
NUMBER = r"(?=[0-9]{1,18}(\.[0-9]{1,18})?\s*" + END + ")"
"""At most 18 digits before the point and after it."""

TRACE = rf"^00-(?!0{{32}})[0-9a-f]{{32}}-(?!0{{16}})[0-9a-f]{{16}}-[0-9a-f]{{2}}{END}"

LINE_ONLY = {"stock_code", "description", "country"}
"""Fields of the document that the service does not read."""


# --- docs/topics.md -------------------------------------------------------------------------------------------------


def section(title: str) -> str:
    """Return the text under a heading of the second level."""
    found = re.search(rf"(?ms)^## {re.escape(title)}$(.*?)(?=^## |\Z)", TOPICS_PAGE.read_text(encoding="utf-8"))
    assert found, title
    return found[1]


def rows(title: str, head: str) -> dict[str, list[str]]:
    """Return a table's rows by each name in back quotes in their first cell: the other cells, as plain text."""
    table = re.search(rf"(?ms)^\| {re.escape(head)} \|.*?\n\|[-|]+\n(.*?)(?:\n\n|\Z)", section(title))
    assert table, head
    found: dict[str, list[str]] = {}
    for line in table[1].splitlines():
        first, *others = (cell.strip() for cell in line.strip("|").split("|"))
        texts = [re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", cell).replace("`", "") for cell in others]
        found |= dict.fromkeys(re.findall(r"`([^`]+)`", first), texts)
    return found


def told(title: str, head: str, column: int) -> dict[str, Schema]:
    """Return the description of each name of a table."""
    return {name: {"description": cells[column]} for name, cells in rows(title, head).items() if cells[column]}


# --- schemas --------------------------------------------------------------------------------------------------------


def struct_schema(kind: Any) -> Schema:
    """Return the draft-7 schema of a struct, without references and without defaults."""
    whole = msgspec.json.schema(kind)
    inlined: Schema = _inlined(whole, whole["$defs"])
    return inlined


def _inlined(node: Any, known: Mapping[str, Any]) -> Any:
    if isinstance(node, list):
        return [_inlined(each, known) for each in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _inlined(known[node["$ref"].rpartition("/")[2]], known)
    kept = {name: _inlined(each, known) for name, each in node.items() if name not in {"$defs", "default", "title"}}
    options = kept.get("anyOf", [])
    plain = [option["type"] for option in options if option.keys() == {"type"}]
    if options and len(plain) == len(options):  # a number may be an integer anyway
        kept = {"type": [name for name in plain if name != "integer" or "number" not in plain]}
    elif len(options) == 2 and options[1] == {"type": "null"}:
        kept = {**options[0], "type": [options[0]["type"], "null"]}
    return kept


def document(title: str, description: str, **parts: Any) -> Schema:
    """Return a schema's document. Fields may be added to any record, so none closes its object."""
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": title, "description": description} | parts


def _merged(*layers: Mapping[str, Schema]) -> dict[str, Schema]:
    found: dict[str, Schema] = {}
    for layer in layers:
        for name, more in layer.items():
            found[name] = found.get(name, {}) | more
    return found


def _input_types() -> dict[str, Schema]:
    """Return each field of the input that the service reads, as far as every record of the topic is held to it."""
    types: dict[str, Schema] = struct_schema(decoding._Message)["properties"]
    version = transaction.SCHEMA_MAJOR
    held: dict[str, Schema] = {
        "schema_version": {"minimum": version, "exclusiveMaximum": version + 1, "pattern": rf"^{version}(\.|{END})"},
        "invoice_date": {"pattern": MOMENT},
        "at": {"pattern": MOMENT},
    }
    return _merged(types, held)


def _without_null(schema: Schema) -> Schema:
    kinds = [kind for kind in schema["type"] if kind != "null"]
    return schema | {"type": kinds if len(kinds) > 1 else kinds[0]}


def _line() -> Schema:
    most, dearest = transaction.MAX_QUANTITY, transaction.MAX_UNIT_PRICE
    limits: dict[str, Schema] = {
        "type": {"const": "line"},
        "customer_id": {"maxLength": MAX_ID_BYTES},
        "invoice_no": {"maxLength": transaction.MAX_INVOICE_BYTES, "pattern": r"\S"},
        "original_invoice_no": {"maxLength": transaction.MAX_INVOICE_BYTES},
        "event_id": {"maxLength": transaction.MAX_EVENT_ID_BYTES},
        "quantity": {
            "minimum": -most,
            "maximum": most,
            "multipleOf": 1,
            "not": {"const": 0},
            "pattern": rf"^\s*[+-]?{NUMBER}0*([1-9][0-9]{{0,{len(str(most)) - 2}}}|{most})(\.0+)?\s*{END}",
        },
        "unit_price": {
            "minimum": 1 / MONEY,
            "maximum": dearest,
            "pattern": rf"^\s*[+]?{NUMBER}(?=[0-9.]*[1-9])"
            rf"0*([0-9]{{1,{len(str(dearest)) - 1}}}(\.[0-9]{{1,4}}0*)?|{dearest}(\.0+)?)\s*{END}",
        },
    }
    required = ["invoice_no", "invoice_date", "quantity", "unit_price"]
    fields = _merged(_input_types(), limits, told("`transactions`", "field", 1))
    for name in required:
        fields[name] = _without_null(fields[name])
    return document(
        "An order line",
        "One line of an order, as a record of `transactions`; without customer_id it is a guest's. What a schema "
        "cannot say stands in contracts/README.md.",
        type="object",
        properties=fields,
        required=required,
    )


def _control(kind: str, title: str, description: str, needed: str, more: Schema) -> Schema:
    about = told("`transactions`", "field", 1)
    fields = _merged(_input_types(), {"type": {"const": kind}, needed: more})
    fields[needed] = _without_null(fields[needed])
    named = {"type", "schema_version", needed, "at"}
    fields = {name: each | (about[name] if name in named else {}) for name, each in fields.items()}
    return document(title, description, type="object", properties=fields, required=["type", needed])


def _segment() -> Schema:
    struct = struct_schema(SegmentRecord)
    fields = struct["properties"]
    positive: Schema = {"minimum": 1}
    day: Schema = {"pattern": rf"^{DATE}{END}", "format": "date"}
    limits: dict[str, Schema] = {
        "customer_id": {"minLength": 1},
        "revision": positive,
        "model_version": positive,
        "as_of": day,
        "entered_on": day,
        "margin": {"minimum": 0, "maximum": 1},
    }
    about = told("`customer-segments`", "field", 1)
    fields = _merged(fields, limits, about)
    number = {"type": ["number", "null"]}
    fields["features"] |= {"properties": dict.fromkeys(NAMES, number), "required": list(NAMES)}
    return document(
        "A customer's segment",
        "One value of `customer-segments`; a customer's newest record is his present segment, null is a tombstone.",
        type="object",
        properties=fields,
        required=struct["required"],
    )


def _headers(title: str, description: str, fields: dict[str, Schema], forms: list[list[str]]) -> Schema:
    properties = {name: {"type": "string"} | each for name, each in fields.items()}
    return document(
        title,
        f"{description} Each value is UTF-8.",
        type="object",
        properties=properties,
        anyOf=[{"required": form} for form in forms],
    )


def _segment_headers() -> Schema:
    whole: dict[str, Schema] = {name: {"pattern": WHOLE} for name in ("epoch", "sequence", "offset", "model", "sweep")}
    whole |= {name: {"pattern": WHOLE} for name in ("moved_from", "moved_to", "partitions")}
    events: dict[str, Schema] = {
        "ce_specversion": {"const": "1.0"},
        "ce_type": {"enum": ["segmenter.customer.segmented", "segmenter.customer.gone"]},
        "ce_source": {"minLength": 1},
        "ce_id": {"minLength": 1},
        "ce_subject": {"minLength": 1},
        "ce_time": {"pattern": rf"^{DATE}T{CLOCK}(Z|[+-][0-9]{{2}}:[0-9]{{2}}){END}", "format": "date-time"},
        "content-type": {"const": "application/json"},
    }
    whole[TRACEPARENT] = {"pattern": TRACE}
    about = _merged(told("`customer-segments`", "header", 1), told("`customer-segments`", "attribute", 0))
    fields = _merged({"day": {"pattern": rf"^{DATE}{END}"}}, whole, events, about)
    commit = ["epoch", "sequence"]
    forms = [
        [*commit, "offset"],
        [*commit, "day", "model", "sweep"],
        [*commit, "moved_from", "partitions"],
        ["moved_to"],
    ]
    return _headers(
        "Headers of a segment", "Which commit wrote a record of `customer-segments`, and why.", fields, forms
    )


def _dead_letter_headers() -> Schema:
    whole: dict[str, Schema] = {
        name: {"pattern": WHOLE} for name in ("epoch", "sequence", "partition", "offset", "timestamp")
    }
    reasons = rows("`transactions-dead-letters`", "reason")
    fields: dict[str, Schema] = {
        **whole,
        "reason": {
            "enum": [reason.value for reason in Reason],
            "description": "; ".join(f"{name}: {cells[0]}" for name, cells in reasons.items()),
        },
        "detail": {"description": "More of it; it never holds a value of the record."},
        "topic": {
            "description": "The input topic; partition, offset and timestamp (milliseconds) are of the record there."
        },
        "value": {"const": "null", "description": "The refused record was null in key and value."},
        REDRIVEN: {"pattern": rf"^[0-9]+:[0-9]+{END}", "description": "partition:offset of an earlier refusal."},
        TRACEPARENT: {"pattern": TRACE, "description": "The refused record's own."},
        "redriven_at": {"description": "This is no letter but a receipt: the letter went to the input again."},
    }
    place = ["topic", "partition", "offset"]
    forms = [["epoch", "sequence", "reason", "detail", *place], ["redriven_at", *place, "timestamp"]]
    return _headers(
        "Headers of a dead letter", "Why and where a record was refused, or the receipt of a letter.", fields, forms
    )


def _erasure() -> Schema:
    struct = struct_schema(Mark)
    about: dict[str, Schema] = {
        "at": {"description": "The moment of the erasure, in seconds of the local clock since 1970-01-01."},
        "revision": {"description": "The customer's last revision; his next life goes on from it."},
    }
    return document(
        "The mark of an erased customer",
        "One value of `customer-erasures`; its key is the HMAC-SHA-256 of the id, in hex.",
        type="object",
        properties=_merged(struct["properties"], about),
        required=struct["required"],
    )


def schemas() -> dict[str, Schema]:
    """Return the schemas by the names of their files."""
    at = {"description": "Lines dated at or before it are refused from then on; without it, docs/topics.md."}
    erase = _control(
        "erase", "An erasure", "Removes everything about a customer; a record of `transactions` under his key.",
        "customer_id", {"maxLength": MAX_ID_BYTES, "pattern": r"\S"},
    )  # fmt: skip
    erase["properties"]["at"] |= at
    tick = _control("tick", "A tick", "Says that a day has begun; one to every partition of `transactions`.", "at", {})
    return {
        "transaction.schema.json": _line(),
        "erase.schema.json": erase,
        "tick.schema.json": tick,
        "segment.schema.json": _segment(),
        "segment.headers.schema.json": _segment_headers(),
        "dead-letter.headers.schema.json": _dead_letter_headers(),
        "erasure.schema.json": _erasure(),
    }


# --- AsyncAPI -------------------------------------------------------------------------------------------------------

CUSTOMER = {"type": "string", "description": "The customer's id in UTF-8."}


def _message(title: str, key: Schema | None, **parts: Any) -> Schema:
    bound = {} if key is None else {"bindings": {"kafka": {"key": key}}}
    return {"name": title, "title": title, "contentType": "application/json", **parts, **bound}


def asyncapi() -> Schema:
    """Return the AsyncAPI 3.0 document of the four topics, as the service sees them."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    topics = Settings(_env_file=None).topics
    in_trace = {"type": "object", "properties": {TRACEPARENT: {"type": "string", "pattern": TRACE}}}
    messages = {
        "line": _message("Order line", CUSTOMER, headers=in_trace, payload=_file("transaction.schema.json")),
        "erase": _message("Erasure", CUSTOMER, headers=in_trace, payload=_file("erase.schema.json")),
        "tick": _message("Tick", None, payload=_file("tick.schema.json")),
        "segment": _message(
            "Segment", CUSTOMER, headers=_file("segment.headers.schema.json"), payload=_file("segment.schema.json")
        ),
        "tombstone": _message(
            "Tombstone", CUSTOMER, headers=_file("segment.headers.schema.json"),
            payload={"type": "null", "description": "This customer is gone; drop what you hold of him."},
        ),
        "deadLetter": _message(
            "Dead letter", {"description": "The refused record's own."},
            headers=_file("dead-letter.headers.schema.json"), contentType="application/octet-stream",
            payload={"description": "The refused record's own bytes; of a receipt, none."},
        ),
        "erasureMark": _message(
            "Erasure mark", {"type": "string", "description": "HMAC-SHA-256 of the id, in hex."},
            headers={"type": "object", "required": ["epoch", "sequence"]},
            payload=_file("erasure.schema.json"),
        ),
    }  # fmt: skip
    channels = {
        "transactions": (topics.input, "Order lines, erasures and ticks, in any order.", ("line", "erase", "tick")),
        "customerSegments": (topics.output, "Each customer's newest segment.", ("segment", "tombstone")),
        "deadLetters": (topics.dead_letters, "What was refused, with the reason.", ("deadLetter",)),
        "customerErasures": (topics.erasures, "Marks that outlive the state.", ("erasureMark",)),
    }
    cleanup = {spec.name: spec.configs.get("cleanup.policy", "delete") for spec in our_topics(*_names(topics), 1)}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Segmenter",
            "version": project["version"],
            "description": f"{project['description']} The topics' names are settings; these are the defaults.",
            "license": {"name": project["license"]},
        },
        "defaultContentType": "application/json",
        "channels": {
            name: {
                "address": address,
                "description": description,
                "messages": {each: {"$ref": f"#/components/messages/{each}"} for each in named},
                "bindings": {"kafka": {"topic": address, "topicConfiguration": {"cleanup.policy": [cleanup[address]]}}},
            }
            for name, (address, description, named) in channels.items()
        },
        "operations": {
            "readTransactions": _operation("receive", "transactions"),
            "publishSegments": _operation("send", "customerSegments"),
            "publishDeadLetters": _operation("send", "deadLetters"),
            "publishErasures": _operation("send", "customerErasures"),
        },
        "components": {"messages": messages},
    }


def _names(topics: Any) -> tuple[str, str, str, str]:
    return topics.input, topics.output, topics.dead_letters, topics.erasures


def _file(name: str) -> Schema:
    return {"$ref": f"./{name}"}


def _operation(action: str, channel: str) -> Schema:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}}


class _Plain(yaml.SafeDumper):
    """Writes a part that is used twice twice: an alias is legible to few."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - yaml's signature
        return True


def documents() -> dict[str, str]:
    """Return all generated files of contracts/ by name."""
    found = {name: json.dumps(each, indent=2, ensure_ascii=False) + "\n" for name, each in schemas().items()}
    head = "# Written by `python -m tests.test_contracts` from the code; a test keeps it so.\n"
    dumped = yaml.dump(asyncapi(), Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True)
    return found | {"asyncapi.yaml": head + dumped}
