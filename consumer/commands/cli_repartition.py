"""What `repartition` does and prints."""

from __future__ import annotations

from rich.console import RenderableType

from consumer import service
from consumer.commands.cli_output import Output, table
from consumer.commands.place import Place
from consumer.repartition import Repartition, Report


def run_repartition(place: Place, partitions: int | None, output: Output, *, dry_run: bool) -> None:
    """Move the states, or say what would move."""
    settings, kafka = place.settings, place.broker()
    client, binding, _ = service.open_state(settings)
    repartition = Repartition(settings, kafka, client, binding, partitions=partitions)
    try:
        if repartition.finished:
            have = binding.partitions
            nothing = f"the state has {have} partitions, as {settings.transactions_topic} has: nothing to move"
            output.result({"before": have, "after": have, "moved": 0}, nothing)
            return
        with output.progress() as progress:
            report = repartition.run(progress, dry_run=dry_run)
    finally:
        repartition.close()
    output.result(report, *_shown(report))


def _shown(report: Report) -> list[RenderableType]:
    rows = [(move.source, move.target, move.customers) for move in report.moves]
    verb = "would move" if report.dry_run else "moved"
    end = "" if report.dry_run else " Next: segmenter run"
    text = (
        f"\n{report.moved:,} of {report.customers:,} customers {verb}, with {report.copied:,} output records and "
        f"{report.marks:,} erasure marks, as of {report.day}.{end}"
    )
    return [table(f"{report.before} -> {report.after} partitions", ["from>", "to>", "customers>"], rows), text]
