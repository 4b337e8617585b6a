"""The model: its versions and their quality, what drifts, and promotion, foretold before it is done."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from consumer.commands.cli_model import Report
from consumer.commands.promotion import Promotion
from consumer.commands.versions import Models, Proposal, Version
from consumer.commands.versions import said as changes_in_words
from consumer.dashboard.access import roles
from consumer.dashboard.board import Board, sentence
from consumer.dashboard.pieces import Html, Notice, Tile, said, table, tiles
from consumer.dashboard.plots import SHIFTED, STEADY, drift, quality
from consumer.dashboard.shown import EVERY_S, choice, known, plot, put, read_at, standing, tell
from consumer.partition import iso
from consumer.serving.tokens import SETTING
from models.checkup import Checkup
from reports.workbench.phrases import count, money

FORETOLD = "foretold"


def show(board: Board) -> None:
    """Show the page."""
    st.title("Model", anchor=False)
    _live(board)
    _promotion(board)


@st.fragment(run_every=EVERY_S)
def _live(board: Board) -> None:
    if standing(board) is None:
        return
    readings = board.report(), board.models()
    report = known(readings[0])
    if report is None:
        return
    put(tiles(figures(report)))
    _checkup(report.checkup)
    models = known(readings[1])
    if models is not None:
        _quality(board)
        _versions(models)
    read_at(*readings)


def figures(report: Report) -> list[Tile]:
    """Return the live model in figures."""
    clusters = len(report.centroids)
    return [
        Tile("Version", f"{report.version:,}", f"hash {report.hash[:8]}"),
        Tile("Made of", report.day, f"by {report.created_by}, {report.learner} learner"),
        Tile("Segments", str(clusters), "clusters; two more stand outside"),
        Tile("Features", str(len(report.features)), ", ".join(report.features)),
        Tile("Margin", f"{report.margin:.2f}", "a nearer segment has to be nearer than this"),
    ]


def _checkup(checkup: Checkup | None) -> None:
    st.subheader("Quality and drift", anchor=False)
    if checkup is None:
        put(said("No checkup yet: the leader makes one each time it refines the model, once a week."))
        return
    ratio, silhouette = checkup.inertia_ratio, checkup.silhouette
    put(
        tiles(
            [
                Tile("Checked", iso(checkup.day), f"version {checkup.version}, {count(checkup.customers, 'customer')}"),
                Tile("Inertia", "–" if ratio is None else f"{ratio:.4f}", "times that of a fresh batch fit"),
                Tile("Silhouette", "–" if silhouette is None else f"{silhouette:.3f}", "-1 to 1, more is clearer"),
                Tile("Findings", str(len(checkup.findings)), f"{count(len(checkup.alarms), 'alarm')}"),
            ]
        )
    )
    tell(*(Notice("warning" if each.severity == "alarm" else "note", f"{each.sentence}.") for each in checkup.findings))
    if checkup.population and checkup.against is not None:
        plot("What shifted in a week", shift_in_words(checkup), drift(checkup.population), "drift")


def shift_in_words(checkup: Checkup) -> str:
    """Return what the plot of the stability indices says."""
    name = max(checkup.population, key=lambda each: checkup.population[each])
    index = checkup.population[name]
    verdict = "steady" if index < STEADY else "another population" if index > SHIFTED else "somewhat shifted"
    since = iso(checkup.against) if checkup.against is not None else ""
    return f"Against {since} {name} shifted most, with an index of {index:.3f}: {verdict} (steady below {STEADY})."


def _quality(board: Board) -> None:
    checkups = board.checkups()
    known_ones = [each for each in checkups.value or () if each.inertia_ratio is not None]
    if len(known_ones) > 1:
        plot("Inertia against a fresh batch fit", quality_in_words(known_ones), quality(known_ones), "quality")


def quality_in_words(checkups: Sequence[Checkup]) -> str:
    """Return what the plot of the inertia says. checkups: those that have a ratio, the oldest first."""
    ratios = [each.inertia_ratio for each in checkups if each.inertia_ratio is not None]
    return (
        f"In {count(len(ratios), 'checkup')} the model's inertia was {sum(ratios) / len(ratios):.4f} times that of a "
        f"fresh batch fit on average, {max(ratios):.4f} at worst; dashed: just as good."
    )


def _versions(models: Models) -> None:
    st.subheader("Versions", anchor=False)
    put(version_table(models))
    st.subheader("Candidates", anchor=False)
    put(candidate_table(models.candidates))


def version_table(models: Models) -> Html:
    """Return the newest versions."""
    rows = [
        (
            f"{each.name}{' (live)' if each.live else ''}",
            each.day,
            str(each.k),
            each.created_by,
            _number(each.inertia_ratio, 4),
            _number(each.silhouette, 3),
            _number(each.population, 3),
            _changes(each),
        )
        for each in models.versions
    ]
    older = f"; {models.older:,} older ones by segmenter model list --all" if models.older else ""
    columns = ["version", "of", "k>", "made by", "inertia / batch>", "silhouette>", "stability index>", "segments"]
    return table(f"The newest {count(len(rows), 'version')}{older}", columns, rows)


def candidate_table(candidates: Sequence[Proposal]) -> Html:
    """Return the candidates, or how one is made."""
    if not candidates:
        return said("There is none: `segmenter model refit` fits one, and the service proposes one where it is better.")
    rows = [
        (
            f"{each.name}{' (waits)' if each.pending else ''}",
            each.day,
            str(each.k),
            _number(each.gain, 3),
            "–" if each.overlap is None else f"{each.overlap:.1%}",
            each.why,
        )
        for each in candidates
    ]
    columns = ["name", "of", "k>", "its day's model / its inertia>", "stay>", "why"]
    return table("Models that wait for a person", columns, rows)


def _promotion(board: Board) -> None:
    st.subheader("Promote", anchor=False)
    if "promote" not in roles(board):
        why = (
            f"Without {SETTING} nothing can be changed here."
            if board.tokens is None
            else "Your token has not the role promote."
        )
        tell(Notice("note", why, "`segmenter model promote c1 --dry-run` does the same on the command line."))
        return
    models = board.models().value
    options = {"": "choose a model"} | (promotable(models) if models else {})
    name = choice("Model", "model", options)
    if not name:
        put(said("Choose a candidate or an older version: first you see who would move."))
        return
    if st.button("Preview", key="preview"):
        _do(board, name, preview=True)
    told = st.session_state.get(FORETOLD)
    if isinstance(told, Promotion) and told.of == name.removeprefix("v"):
        put(said(in_words(told)), flow_table(told, board.place.settings.currency))
        if not told.published and st.button(f"Promote {name} for everybody", type="primary", key="promote"):
            _do(board, name, preview=False)
            st.rerun()


def _do(board: Board, name: str, *, preview: bool) -> None:
    try:
        st.session_state[FORETOLD] = board.promote(name, preview=preview)
    except Exception as error:  # noqa: BLE001 -- whatever it is, the page says it
        st.session_state.pop(FORETOLD, None)
        tell(Notice("warning", f"Not done: {sentence(error)}."))


def promotable(models: Models) -> dict[str, str]:
    """Return what may be promoted, with labels: the candidates, then the versions but the live one."""
    found = {each.name: f"{each.name}: candidate of {each.day}, k = {each.k}" for each in models.candidates}
    older = [each for each in models.versions if not each.live]
    return found | {each.name: f"version {each.name} of {each.day}, k = {each.k}" for each in older}


def in_words(told: Promotion) -> str:
    """Return what a promotion does or did."""
    head = f"Version {told.version} of {told.day}, the model of {told.of}"
    went = "is live; the workers sweep everybody under it now" if told.published else "is not published"
    fates = changes_in_words(told.changes)
    return (
        f"{head}, {went}. {told.moves:,} of {count(told.customers, 'customer')} "
        f"{'move' if told.published else 'would move'}, with a revenue of {money(told.revenue, '', 2)}. "
        f"{fates[0].upper() + fates[1:] + '.' if fates else 'Every segment goes on.'}"
    )


def flow_table(told: Promotion, currency: str) -> Html:
    """Return who goes where."""
    if not told.flows:
        return said("Nobody moves.")
    rows = [(f.source.name, f.target.name, f"{f.customers:,}", money(f.revenue, currency, 2)) for f in told.flows]
    return table("Who moves, the greatest revenue first", ["from", "to", "customers>", "revenue>"], rows)


def _changes(version: Version) -> str:
    return changes_in_words(version.changes) or "all go on"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
