"""deploy/monitoring/ by Prometheus' own promtool, and against the metrics that a worker really has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

from consumer.telemetry.metrics import Metrics, names
from consumer.telemetry.telemetry import Telemetry
from tests.consumer.telemetry.test_telemetry import Log, checkup, turn
from tests.harness.promtool import checked
from tests.harness.world import FIRST_DAY, World, line, shopping

REPOSITORY = Path(__file__).parents[1]
FOLDER = REPOSITORY / "deploy" / "monitoring"
GRAFANA = FOLDER / "grafana"

TESTS = ("alerts_test.yml", "alerts_days_test.yml")

NOT_OURS = {"up": {"job", "instance"}, "ALERTS": {"alertname", "alertstate"}}
"""Prometheus' own, with their labels."""
OF_TARGETS = {"job", "instance"}
"""Labels that Prometheus adds to whatever it scrapes."""
HISTOGRAM = ("_bucket", "_count", "_sum")
GROUPING = r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)"
SELECTOR = r"([a-zA-Z_:]\w*)(?!\w*\s*\()\s*(?:\{([^}]*)\})?"
WORDS = {"offset", "bool"}


def alerts() -> list[dict[str, Any]]:
    document = yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "segmenter.json").read_text(encoding="utf-8"))
    return found


def queries() -> list[str]:
    """Return every expression of the dashboard, with Grafana's variable as Grafana fills it in."""
    board = dashboard()
    of_panels = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    found = [*of_panels, *(each["expr"] for each in board["annotations"]["list"])]
    return [expr.replace("$__rate_interval", "1m") for expr in found]


@pytest.fixture(scope="module")
def scrape() -> Metrics:
    """The metrics of a worker that has done a bit of everything."""
    metrics = Metrics(lambda: frozenset({0, 1}), info={"version": "0", "clock": "event"})
    telemetry = Telemetry(b"key", Log(), on_turn=[metrics.turned])
    metrics.of(telemetry)
    world = World(partitions=2)
    world.observer = telemetry
    world.publish(*shopping(3, days=3), line(None, FIRST_DAY), line("c0", FIRST_DAY, unit_price=-1.0))
    world.settle()
    telemetry.turned(turn([0, 500]))
    telemetry.lagging({0: 0, 1: 5})
    telemetry.paused(1, "no room")
    telemetry.stalled(1, "seek")
    telemetry.trouble("publishing", OSError("no"))
    telemetry.checked_up(checkup(inertia_ratio=1.05))
    telemetry.judged(FIRST_DAY, [])
    return metrics


@pytest.fixture(scope="module")
def labels(scrape: Metrics) -> dict[str, set[str]]:
    """Return the labels of every metric, by its name as Prometheus shows it, parts of histograms with their own."""
    found: dict[str, set[str]] = {}
    for family in scrape.registry.collect():
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def used(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each metric of an expression with the labels that it, or what stands on its side of `and`, is asked by."""
    for side in re.split(r"\b(?:and|or|unless)\b", re.sub(r'"[^"]*"', '""', expression)):
        groups = re.findall(GROUPING, side)
        grouped = {label for group in groups for label in re.findall(r"\w+", group)}
        for name, matchers in re.findall(SELECTOR, re.sub(GROUPING, " ", side)):
            if name not in WORDS and not re.fullmatch(r"[smhd]", name):
                yield name, {*re.findall(r"(\w+)\s*[=!]", matchers), *grouped}


class TestPromtool:
    def test_the_configuration_is_sound_and_finds_its_rules(self) -> None:
        assert "1 rule files found" in checked("check", "config", FOLDER / "prometheus.yml")

    def test_the_alarms_are_sound(self) -> None:
        assert f"{len(alerts())} rules found" in checked("check", "rules", FOLDER / "alerts.yml")

    @pytest.mark.parametrize("tests", TESTS)
    def test_each_alarm_fires_when_it_should_and_none_without_a_reason(self, tests: str) -> None:
        assert "SUCCESS" in checked("test", "rules", tests, folder=FOLDER)

    def test_a_test_that_expects_too_much_fails(self, tmp_path: Path) -> None:
        """They ask for Prometheus' own series of alarms, which a promtool that did not write it would find empty."""
        (tmp_path / "alerts.yml").write_text("groups: [{name: none, rules: []}]", encoding="utf-8")
        (tmp_path / TESTS[0]).write_bytes((FOLDER / TESTS[0]).read_bytes())
        with pytest.raises(AssertionError, match="SegmenterWorkerDown"):
            checked("test", "rules", TESTS[0], folder=tmp_path)

    def test_each_alarm_has_a_test_in_which_it_fires(self) -> None:
        fires = {
            name
            for file in TESTS
            for each in yaml.safe_load((FOLDER / file).read_text(encoding="utf-8"))["tests"]
            for query in each["promql_expr_test"]
            for sample in query["exp_samples"]
            for name in re.findall(r'alertname="(\w+)"', sample["labels"])
        }
        assert fires == {rule["alert"] for rule in alerts()}

    def test_every_query_of_the_dashboard_is_promql(self, tmp_path: Path) -> None:
        rules = [{"record": f"panel:{n}", "expr": expr} for n, expr in enumerate(queries())]
        file = tmp_path / "queries.yml"
        file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
        assert f"{len(rules)} rules found" in checked("check", "rules", file)

    def test_what_a_worker_shows_is_as_prometheus_wants_it(self, scrape: Metrics) -> None:
        checked("check", "metrics", given=generate_latest(scrape.registry).decode())


class TestNames:
    def test_an_expression_is_taken_apart(self) -> None:
        found = dict(used('sum by (le) (rate(a_bucket{job="x", by!="y"}[5m])) / 2 > b{} offset 1h and on () up == 1'))
        assert found == {"a_bucket": {"le", "job", "by"}, "b": {"le"}, "up": set()}

    @pytest.mark.parametrize("where", ["alarms", "dashboard"])
    def test_every_metric_that_is_asked_for_exists_with_its_labels(
        self, where: str, labels: dict[str, set[str]]
    ) -> None:
        known = NOT_OURS | {name: found | OF_TARGETS for name, found in labels.items()}
        asked = [rule["expr"] for rule in alerts()] if where == "alarms" else queries()
        for expression in asked:
            found = list(used(expression))
            assert found, expression
            for name, wanted in found:
                assert name in known, expression
                assert wanted <= known[name], expression

    def test_every_metric_of_ours_has_been_seen(self, labels: dict[str, set[str]]) -> None:
        """Otherwise the labels above would be those of some only."""
        seen = {re.sub(rf"({'|'.join(HISTOGRAM)}|_created)$", "", name) for name in labels}
        assert set(names()) <= seen

    def test_a_legend_names_a_label_of_its_query(self) -> None:
        for panel in dashboard()["panels"]:
            for target in panel.get("targets", ()):
                asked = {label for _, wanted in used(target["expr"]) for label in wanted} | OF_TARGETS
                assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= asked, target["expr"]


class TestAlarms:
    def test_each_says_what_it_means_and_leads_to_a_heading_of_the_runbook(self) -> None:
        for rule in alerts():
            told = rule["annotations"]
            assert told.keys() == {"summary", "description", "runbook_url"}, rule["alert"]
            assert rule["labels"]["severity"] in {"warning", "critical"}
            page, _, anchor = told["runbook_url"].partition("#")
            text = (REPOSITORY / page).read_text(encoding="utf-8")
            assert anchor in {slug(heading) for heading in re.findall(r"(?m)^##+ (.+)$", text)}, told["runbook_url"]

    def test_the_page_names_each_alarm_and_none_that_is_gone(self) -> None:
        text = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
        section = text.partition("\n## Alarms\n")[2].partition("\n## ")[0]
        assert re.findall(r"`(Segmenter\w+)`", section) == [rule["alert"] for rule in alerts()]


class TestGrafana:
    def test_the_dashboard_and_its_source_are_provisioned(self) -> None:
        sources = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text(encoding="utf-8"))
        uids = {each["uid"] for each in sources["datasources"]}
        (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/segmenter.yml").read_text(encoding="utf-8"))[
            "providers"
        ]
        assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
        panels = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
        assert {panel["datasource"]["uid"] for panel in panels} == uids

    def test_an_operator_finds_a_row_for_each_question(self) -> None:
        rows = [panel["title"] for panel in dashboard()["panels"] if panel["type"] == "row"]
        assert rows == [
            "At a glance",
            "Input and lag",
            "Latency",
            "Outcomes",
            "Commits and recovery",
            "Model and drift",
            "Sweeps",
            "Process",
        ]

    def test_panels_have_ids_of_their_own_and_do_not_overlap(self) -> None:
        panels = dashboard()["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        taken: set[tuple[int, int]] = set()
        for panel in panels:
            at = panel["gridPos"]
            cells = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
            assert not cells & taken, panel["title"]
            assert at["x"] + at["w"] <= 24
            taken |= cells


def slug(heading: str) -> str:
    """Return the anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
