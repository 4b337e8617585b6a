import hashlib
import json
import math

import msgspec
import numpy as np
import pytest

from models.bundle import (
    FIXED,
    LAPSED,
    NO_NET,
    BundleError,
    Segment,
    centroid_array,
    content_hash,
    decode,
    encode,
    scale_array,
    segment_ids,
    segment_of,
    successor,
)
from tests.models.samples import bundle_of


def test_a_bundle_reads_back_to_the_last_bit() -> None:
    bundle = bundle_of(np.random.default_rng(1).normal(size=(5, 3)), learner_state={"weights": (0.1, 1e300)})
    assert decode(encode(bundle)) == bundle


def test_the_json_is_canonical_and_the_hash_is_its_sha256() -> None:
    bundle = bundle_of()
    document = json.loads(encode(bundle))
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    assert encode(bundle) == canonical
    assert content_hash(bundle) == hashlib.sha256(canonical).hexdigest()[:16]


def test_the_order_of_keys_in_the_json_does_not_change_the_hash() -> None:
    bundle = bundle_of()
    backwards = json.dumps(dict(reversed(json.loads(encode(bundle)).items()))).encode()
    assert content_hash(decode(backwards)) == content_hash(bundle)


def test_any_other_content_has_another_hash() -> None:
    bundle = bundle_of()
    others = [
        bundle_of(margin=0.9),
        bundle_of(version=2, parent="a"),
        bundle_of(day=1),
        bundle_of(scale=(1.0, 1.0, 1.0)),
    ]
    assert len({content_hash(b) for b in (bundle, *others)}) == 5


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": 0}, "1 or greater"),
        ({"version": 2}, "parent"),
        ({"learner": ""}, "learner"),
        ({"margin": 0.0}, "margin"),
        ({"margin": 1.01}, "margin"),
        ({"margin": math.nan}, "margin"),
        ({"horizon_days": 0}, "horizon"),
        ({"features": ()}, "features"),
        ({"features": ("recency", "recency", "monetary")}, "repeat"),
        ({"features": ("recency", "frequency", "height")}, "height"),
        ({"features": ("recency", "frequency")}, "2 coordinates"),
        ({"centroids": ()}, "no centroid"),
        ({"centroids": ((1.0, 2.0, 3.0), (1.0, 2.0), (1.0, 2.0, 3.0))}, "coordinates"),
        ({"centroids": ((1.0, 2.0, 3.0), (1.0, 2.0, math.inf), (1.0, 2.0, 3.0))}, "not finite"),
        ({"scale": ()}, "0 numbers"),
        ({"scale": (1.0, 1.0)}, "2 numbers for 3 features"),
        ({"scale": (1.0, 1.0, 0.0)}, "above 0"),
        ({"scale": (1.0, -1.0, 1.0)}, "above 0"),
        ({"scale": (1.0, math.nan, 1.0)}, "not finite"),
        ({"segments": (Segment(11, "A"), Segment(12, "B"))}, "2 segments for 3"),
        ({"segments": (Segment(11, "A"), Segment(11, "B"), Segment(12, "C"))}, "ids"),
        ({"segments": (Segment(10, "A"), Segment(11, "B"), Segment(12, "C"))}, "begin at 11"),
        ({"segments": (Segment(11, "A"), Segment(12, "A"), Segment(13, "C"))}, "names"),
        ({"segments": (Segment(11, "Lapsed"), Segment(12, "A"), Segment(13, "C"))}, "names"),
        ({"segments": (Segment(11, " "), Segment(12, "A"), Segment(13, "C"))}, "no name"),
        ({"sizes": (1, 2)}, "sizes"),
        ({"sizes": (1, 2, -3)}, "sizes"),
        ({"learner_state": {"weights": (1.0, math.inf)}}, "state"),
        ({"schema": 3}, "schema"),
        ({"schema": 1, "recency_offset": 30}, "upgrade"),
        ({"recency_offset": 0}, "offset"),
        ({"retired_id": 70_000}, "retired"),
        ({"named": (14,)}, "named by hand"),
    ],
)
def test_what_cannot_be_a_model_is_refused_and_said(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(BundleError, match=reason):
        encode(msgspec.structs.replace(bundle_of(), **changes))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"schema":2', '"schema":3', "schema 3"),
        ('"schema":2', '"schema":0', "schema 0"),
        ('"margin":0.95', '"margin":0', "margin"),
        ('"margin":0.95', '"margin":"wide"', "margin"),
        ('"margin":0.95,', "", "margin"),
        ('"margin":0.95', '"margin":0.95,"colour":1', "colour"),
        ('"created_by":"bootstrap"', '"created_by":"magic"', "created_by"),
        ('"scale":[1.4', '"scale":[1e999', "scale|range"),
        ("{", "[", "read"),
    ],
)
def test_damaged_json_is_refused_and_said(old: str, new: str, reason: str) -> None:
    text = encode(bundle_of()).decode()
    assert old in text
    with pytest.raises(BundleError, match=reason):
        decode(text.replace(old, new, 1).encode())


def test_a_model_of_schema_1_is_read_and_keeps_its_bytes_and_its_name() -> None:
    written = json.dumps(
        {
            "centroids": [[1.5, 2.5]],
            "created_by": "bootstrap",
            "day": 15126,
            "features": ["recency", "monetary"],
            "horizon_days": 365,
            "learner": "population",
            "learner_state": {},
            "margin": 0.95,
            "parent": None,
            "scale": [1.4, 0.7],
            "schema": 1,
            "segments": [{"id": 11, "name": "Champions"}],
            "sizes": [100],
            "version": 1,
        },
        separators=(",", ":"),
    ).encode()
    bundle = decode(written)
    assert (bundle.schema, bundle.recency_offset, bundle.lineage) == (1, 1, ())
    assert encode(bundle) == written
    assert content_hash(bundle) == hashlib.sha256(written).hexdigest()[:16]
    later = successor(bundle, day=15127, created_by="recentre")
    assert decode(encode(later)).schema == 1, "a worker of the version before must be able to read it"


def test_bytes_that_are_not_text_are_refused() -> None:
    with pytest.raises(BundleError):
        decode(b'{"schema":1,"learner":"\xff"}')


def test_a_successor_counts_on_and_names_its_parent() -> None:
    bundle = bundle_of()
    child = successor(bundle, day=20, created_by="refine", scale=np.array([1.0, 2.0, 3.0]))
    assert (child.version, child.parent, child.day, child.created_by) == (2, content_hash(bundle), 20, "refine")
    assert child.scale == (1.0, 2.0, 3.0)
    assert (child.centroids, child.segments, child.sizes) == (bundle.centroids, bundle.segments, bundle.sizes)
    assert decode(encode(child)) == child


def test_arrays_are_shared_and_cannot_be_written() -> None:
    bundle = bundle_of()
    centroids = centroid_array(bundle)
    assert centroids is centroid_array(bundle)
    np.testing.assert_array_equal(centroids, bundle.centroids)
    np.testing.assert_array_equal(scale_array(bundle), bundle.scale)
    with pytest.raises(ValueError, match="read-only"):
        centroids[0, 0] = 1.0


def test_a_segment_is_found_by_its_id_fixed_ones_included() -> None:
    bundle = bundle_of(segments=(Segment(12, "B"), Segment(11, "A"), Segment(40, "C")))
    assert segment_ids(bundle) == (12, 11, 40)
    assert segment_of(bundle, 40) == Segment(40, "C")
    assert segment_of(bundle, 1) == LAPSED == Segment(1, "Lapsed")
    assert segment_of(bundle, 2) == NO_NET == Segment(2, "No net purchases")
    assert segment_of(bundle, 13) is None
    assert FIXED == (LAPSED, NO_NET)
