"""Whole answers for the documentation: one customer of a small shop, on one day."""

from __future__ import annotations

from consumer.commands.cli_model import Report
from consumer.commands.explain import Change, Contribution, Explanation, LastMove, LeastOrder, Near
from consumer.commands.lookup import NextMove
from consumer.commands.promotion import Promotion
from consumer.commands.versions import Flow
from consumer.history.profile import Profile
from consumer.serving.messages import Alive, Found, Ready, Wanted
from consumer.serving.queries import Erasure, KnownCustomer, Member, Page, Segments
from models.bundle import Change as Fate
from models.bundle import Segment

_CHAMPIONS, _LOYAL, _DORMANT = Segment(11, "Champions"), Segment(12, "Loyal"), Segment(13, "Dormant")
_SILENT = NextMove("2011-07-02", 22, _LOYAL)

CUSTOMER = KnownCustomer(
    customer_id="12748",
    segment=_CHAMPIONS,
    previous=_LOYAL,
    entered_on="2011-05-18",
    revision=4,
    as_of="2011-06-10",
    features={
        "recency": 1.0,
        "tenure": 70.0,
        "frequency": 34.0,
        "monetary": 1840.5,
        "frequency_30": 15.0,
        "frequency_90": 34.0,
        "frequency_365": 34.0,
        "monetary_30": 801.25,
        "monetary_90": 1840.5,
        "monetary_365": 1840.5,
        "basket_value": 54.132353,
        "basket_items": 12.5,
        "mean_gap": 2.090909,
        "return_rate": 0.0,
    },
    distances={"Champions": 0.412345, "Loyal": 1.731002, "Dormant": 3.902871},
    margin=0.761788,
    held=False,
    first_order="2011-04-01",
    last_order="2011-06-09",
    next_move=_SILENT,
    records=34,
    remembered_events=9,
    partition=2,
    key="{segmenter:2}:1:c:12748",
    bytes=1313,
    model_version=71,
    age_days=0,
)
EXPLANATION = Explanation(
    customer_id="12748",
    as_of="2011-06-10",
    segment=_CHAMPIONS,
    margin=0.761788,
    held=False,
    best=Near(11, "Champions", 0.412345),
    second=Near(12, "Loyal", 1.731002),
    contributions=[Contribution("frequency", 34.0, 1.9), Contribution("recency", 1.0, 0.9)],
    difference=2.8,
    last_move=LastMove(
        on="2011-05-18",
        previous=_LOYAL,
        cause="purchase",
        days=23,
        orders=12,
        bought=640.5,
        returned=0.0,
        features=[Change("recency", 0.0, 1.0), Change("frequency", 22.0, 34.0)],
    ),
    next_move=_SILENT,
    order=LeastOrder(310.5, "2011-06-12", "2011-09-08", _LOYAL),
    smallest="order",
    in_words="one more order of at least 310.50 by 2011-09-08 moves him to Loyal; silent until 2011-07-02, in 22 "
    "days, he moves to Loyal",
    model_version=71,
)
ERASURE = Erasure("12748", "transactions", 2, 48_211, had_state=True)
WANTED = Wanted(["12748", "99999"])
FOUND = Found([CUSTOMER], ["99999"])
_PROFILES = (
    Profile(11, "Champions", 18, 0.225, 0.71, 3.0, 21.0, 1103.4),
    Profile(12, "Loyal", 37, 0.4625, 0.24, 9.0, 6.0, 274.1),
    Profile(13, "Dormant", 25, 0.3125, 0.05, 51.0, 1.0, 41.2),
)
SEGMENTS = Segments("2011-06-10", "2011-06-10T08:15:00+00:00", 71, 80, _PROFILES)
PAGE = Page(_CHAMPIONS, [Member("12748", "2011-05-18", 4)], "lKExCwDPAAAK2g")
MODEL = Report(
    version=71,
    hash="6c1d3f0f9b2a7e55",
    parent="0d8a4be27c66f101",
    day="2011-06-10",
    learner="population",
    created_by="recentre",
    features=("recency", "frequency", "monetary"),
    margin=0.95,
    recency_offset=1,
    scale=(1.02, 0.93, 1.21),
    centroids=((1.4, 3.1, 7.0), (2.3, 1.9, 5.6), (3.9, 0.7, 3.7)),
    segments=_PROFILES,
    named=(),
    misfits={},
    checkup=None,
)
PROMOTION = Promotion(
    version=72,
    of="c3",
    published=False,
    day="2011-06-10",
    changes=(Fate("continued", 11, "Champions", None, 18), Fate("continued", 12, "Loyal", None, 35)),
    customers=80,
    moves=4,
    revenue=612.4,
    flows=(Flow(_LOYAL, _CHAMPIONS, 3, 498.15), Flow(_CHAMPIONS, _LOYAL, 1, 114.25)),
)
MOVES = """\
retry: 1000
: moves from here on

id: 2:9317
event: move
data: {"customer_id":"12748","segment":{"id":12,"name":"Loyal"},"cause":"silence","revision":5}

id: 2:9318
event: erased
data: {"customer_id":"12815"}

"""
ALIVE = Alive(alive=True)
READY = Ready(ready=True, trouble=None)
NOT_READY = Ready(ready=False, trouble="Redis cannot be asked now; `segmenter doctor` says why")
