"""The command line: each verb by its own example on real servers, errors in a sentence, secrets kept."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import httpx
import pyarrow.parquet as parquet
import pytest
import typer
import typer.main

from consumer import cli
from consumer.settings import Settings
from consumer.transport.child import free_port
from tests.harness.commands import REPOSITORY, Done, Inside, Shell
from tests.harness.exports import KNOWN, small_export
from tests.harness.live import wait_until
from tests.harness.pages import answers

LOOKING = ("status", "lookup", "explain", "forecast", "export")
TOPICS = {
    "SEGMENTER_TRANSACTIONS_TOPIC": "transactions",
    "SEGMENTER_SEGMENTS_TOPIC": "segments",
    "SEGMENTER_DEAD_LETTERS_TOPIC": "dead-letters",
    "SEGMENTER_ERASURES_TOPIC": "erasures",
}


def commands() -> dict[str, Any]:
    """Every verb by its full name."""
    cli._load()
    found: dict[str, Any] = {}

    def walk(group: Any, prefix: str) -> None:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                walk(command, f"{prefix}{name} ")
            else:
                found[prefix + name] = command

    walk(typer.main.get_command(cli.app), "")
    return found


def example(verb: str) -> str:
    """The example in a verb's help, without `segmenter`."""
    epilog = commands()[verb].epilog or ""
    assert epilog.startswith("Example: segmenter "), f"{verb} has no example in its help"
    return str(epilog.removeprefix("Example: segmenter "))


def shell_for(folder: Path, kafka: str, redis_url: str, name: str, **more: str) -> Shell:
    """A folder with a Dataset/ and an environment of its own on shared servers."""
    small_export(folder / "Dataset")
    variables = {variable: f"{name}-{topic}" for variable, topic in TOPICS.items()}
    addresses = {"SEGMENTER_KAFKA_BOOTSTRAP": kafka, "SEGMENTER_REDIS_URL": redis_url, "SEGMENTER_NAMESPACE": name}
    return Inside(folder, variables | addresses | {"SEGMENTER_CLOCK": "event"} | more)


@pytest.fixture
def shell(tmp_path: Path, kafka_bootstrap: str, redis_url: str, namespace: str) -> Shell:
    return shell_for(tmp_path, kafka_bootstrap, redis_url, namespace)


@dataclass(frozen=True)
class Here:
    """Runs commands in this process, in a folder and an environment of their own: a second saved for each."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def __call__(self, command: str, **variables: str) -> Done:
        with self.monkeypatch.context() as patched:
            patched.chdir(self.folder)
            for name in [name for name in os.environ if name.startswith("SEGMENTER_")]:
                patched.delenv(name)
            for name, value in variables.items():
                patched.setenv(name, value)
            code = cli.run(shlex.split(command))
        return Done(code, *self.capsys.readouterr())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(tmp_path, monkeypatch, capsys)


def nobody() -> dict[str, str]:
    """Return addresses where no server answers."""
    address = f"127.0.0.1:{free_port()}"
    return {"SEGMENTER_KAFKA_BOOTSTRAP": address, "SEGMENTER_REDIS_URL": f"redis://{address}/0"}


def served(shell: Shell) -> tuple[int, dict[str, Any]]:
    """Serve beside a worker; return the exit code, and what was answered: an erasure comes back among the moves."""
    tokens, port = shell.folder / "tokens", free_port()
    tokens.write_text(f"read,erase {sha256(b'a token').hexdigest()} the tour\n", encoding="utf-8")
    asking = Shell(shell.folder, {**shell.variables, "SEGMENTER_API_TOKENS_FILE": str(tokens)})
    client = httpx.Client(
        base_url=f"http://localhost:{port}", headers={"Authorization": "Bearer a token"}, timeout=httpx.Timeout(30)
    )
    with asking.running(example("serve").replace("8080", str(port))) as server, client:
        wait_until(lambda: ready(client), "an API that is ready")
        found = {"customer": client.get(f"/v1/customers/{KNOWN}").json()}
        with client.stream("GET", "/v1/moves") as stream:
            lines = stream.iter_lines()
            while "moves from here on" not in next(lines):
                pass
            found["erasure"] = client.post("/v1/customers/12815:erase").json()
            found["erased"] = next(line for line in lines if line.startswith("data: "))
    return server.returncode, found


def shown(shell: Shell) -> int:
    """Show the dashboard beside a worker until it answers; return the exit code."""
    port = free_port()
    with shell.running(example("dashboard").replace("8501", str(port)) + " --json") as server:
        wait_until(lambda: answers(port), "a dashboard that answers")
    return int(server.returncode)


def ready(client: httpx.Client) -> bool:
    """Say whether a look-up would be answered."""
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory, kafka: Any, redis_server: Any) -> tuple[Shell, dict[str, Any]]:
    name = f"tour-{time.time_ns():x}"
    shell = shell_for(tmp_path_factory.mktemp("tour"), kafka.bootstrap, redis_server.url, name)
    seen: dict[str, Any] = {}
    for verb in ("topics create", "topics show", "bootstrap"):
        seen[verb] = shell(example(verb) + " --json")
    port = free_port()
    with shell.running(example("run").replace("9100", str(port))) as worker:
        seen["replay"] = shell(example("replay") + " --json")
        shell.until_caught_up()
        for verb in (*LOOKING, "config show", "doctor", "erase"):
            seen[verb] = shell(example(verb) + " --json")
        seen["serve"], seen["served"] = served(shell)
        seen["dashboard"] = shown(shell)
        for verb in ("pause", "resume"):
            seen[verb] = shell(example(verb) + " --json")
    seen["run"] = worker.returncode
    for verb in (
        "model refit",
        "model promote",
        "model name",
        "model export",
        "model import",
        "model list",
        "model diff",
    ):
        seen[verb] = shell(example(verb) + " --json")
    assert shell("model promote c1").code == 0  # so that there is something to take back
    for verb in ("model rollback", "model freeze"):
        seen[verb] = shell(example(verb) + " --json")
    looks = ("model show", "model check", "model compare-learners", "verify", "history", "trend", "report", "origin")
    for verb in (*looks, "dlq list", "dlq redrive", "upgrade", "repartition"):
        seen[verb] = shell(example(verb) + " --json")
    seen["dlq show"] = shell(re.sub(r" --(partition|offset) \d+", "", example("dlq show")) + " --json")
    return shell, seen


class TestExamples:
    """The tour of a first day, each command as its help shows it."""

    def test_every_verb_has_an_example_and_json(self) -> None:
        for verb, command in commands().items():
            assert example(verb).startswith(verb)
            assert "--json" in {option for parameter in command.params for option in parameter.opts}, verb

    def test_help_shows_the_example(self, here: Here) -> None:
        for verb in commands():
            shown = here(f"{verb} --help")
            assert shown.code == 0
            assert example(verb) in " ".join(shown.out.split()), verb
        root = here("--help").out
        assert all(verb.split()[0] in root for verb in commands())

    def test_the_tour_takes_every_verb_but_the_demo(self, tour: tuple[Shell, dict[str, Any]]) -> None:
        assert tour[1].keys() - {"served"} | {"demo"} == commands().keys()

    def test_every_example_ends_well(self, tour: tuple[Shell, dict[str, Any]]) -> None:
        verbs = {verb: seen for verb, seen in tour[1].items() if verb != "served"}
        found = {verb: seen if isinstance(seen, int) else seen.code for verb, seen in verbs.items()}
        assert found == dict.fromkeys(verbs, 0), {v: s.err for v, s in tour[1].items() if getattr(s, "code", 0)}

    def test_topics_are_made_fit(self, tour: tuple[Shell, dict[str, Any]]) -> None:
        made = tour[1]["topics show"].json
        assert [topic["partitions"] for topic in made] == [4] * 4
        assert [topic["differences"] for topic in made] == [[]] * 4

    def test_the_bootstrap_accounts_for_every_line(self, tour: tuple[Shell, dict[str, Any]]) -> None:
        found = tour[1]["bootstrap"].json
        rows = {row["name"]: row for row in found["funnel"]}
        out = sum(row["lines"] for row in found["funnel"] if row["kind"] == "out")
        assert rows["lines read"]["lines"] == out + rows["ledger: returns netted"]["lines"]
        assert sum(segment["customers"] for segment in found["segments"]) == found["customers"]
        assert sum(segment["share_of_revenue"] or 0 for segment in found["segments"]) == pytest.approx(1, abs=1e-3)

    def test_what_the_history_holds_counts_once(self, tour: tuple[Shell, dict[str, Any]]) -> None:
        status, replayed = tour[1]["status"].json, tour[1]["replay"].json
        assert "applied" not in status["counters"]
        fates = (status["counters"]["repeated"], status["refused"]["before_cutoff"], status["counters"]["guests"])
        assert sum(fates) == replayed["events"]
        assert status["counters"]["ticks"] == replayed["ticks"] == 4

    def test_the_customer_is_found_with_his_features(self, tour: tuple[Shell, dict[str, Any]]) -> None:
        found = tour[1]["lookup"].json
        assert found["customer_id"] == KNOWN
        assert found["segment"]["name"] == found["segment"]["name"]
        assert (found["revision"], found["as_of"]) == (1, "2011-06-11")
        assert found["features"]["frequency"] > 20

    def test_the_api_answers_what_the_look_up_prints(self, tour: tuple[Shell, dict[str, Any]]) -> None:
        found = tour[1]["served"]["customer"]
        assert found.pop("age_days") > 5_000
        assert found == tour[1]["lookup"].json

    def test_an_erasure_asked_of_the_api_comes_back_among_the_moves(self, tour: tuple[Shell, dict[str, Any]]) -> None:
        by_command, by_api = tour[1]["erase"].json, tour[1]["served"]["erasure"]
        assert by_api["customer_id"] == by_command["customer_id"] == "12815"
        assert by_api["partition"] == by_command["partition"]
        assert by_api["offset"] == by_command["offset"] + 2  # behind its tick
        assert not by_api["had_state"]
        assert tour[1]["served"]["erased"] == 'data: {"customer_id":"12815"}'

    def test_the_forecast_names_whom_the_look_up_foretells(self, tour: tuple[Shell, dict[str, Any]]) -> None:
        shell, seen = tour
        found = seen["forecast"].json
        assert found["leaving"] == sum(flow["customers"] for flow in found["flows"]) > 0
        assert found["revenue"] == pytest.approx(sum(flow["revenue"] for flow in found["flows"]))
        first = found["leavers"][0]
        move = shell(f"lookup {first['customer_id']} --json").json["next_move"]
        assert (move["on"], move["segment"]) == (first["on"], first["target"])
        assert 0 < move["in_days"] <= found["days"] == 30
        assert first["revenue"] == max(each["revenue"] for each in found["leavers"])

    def test_the_report_of_the_running_service_has_the_published_segments(
        self, tour: tuple[Shell, dict[str, Any]]
    ) -> None:
        shell, _ = tour
        done = shell("report --live --out live --json")
        assert done.code == 0, done.err
        assert done.json["customers"] == shell("export --out live.csv --json").json["customers"]
        with (shell.folder / "live" / "tables" / "customers.csv").open(encoding="utf-8") as file:
            rows = {row["customer"]: row for row in csv.DictReader(file)}
        for customer in list(rows)[:: len(rows) // 5]:
            found = shell(f"lookup {customer} --json").json
            assert int(rows[customer]["segment_id"]) == found["segment"]["id"]
            assert float(rows[customer]["frequency"]) == found["features"]["frequency"]

    def test_segments_are_exported_as_rows_that_everybodys_rows_add_up_to(
        self, tour: tuple[Shell, dict[str, Any]]
    ) -> None:
        shell, _ = tour
        assert shell("export --out all.csv").code == 0
        with (shell.folder / "all.csv").open(encoding="utf-8") as file:
            everybody = list(csv.DictReader(file))
        (shell.folder / "no.txt").write_text(f"{everybody[0]['customer_id']}\nnobody-known\n", encoding="utf-8")
        for name in ("segments.csv", "segments.parquet"):
            done = shell(f"export --segments --out {name} --opt-out no.txt --json")
            assert (done.code, done.json["opted_out"], done.json["unknown"]) == (0, 1, 1), done.err
        with (shell.folder / "segments.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            own = [each for each in everybody[1:] if each["segment_id"] == row["segment_id"]]
            assert int(row["customers"]) == len(own)
            assert float(row["net"]) == pytest.approx(sum(float(each["monetary"]) for each in own))
            assert float(row["median_monetary"]) == pytest.approx(median(float(each["monetary"]) for each in own))
        assert sum(int(row["customers"]) for row in rows) == len(everybody) - 1
        stored = parquet.read_table(shell.folder / "segments.parquet").to_pylist()
        assert [each["customers"] for each in stored] == [int(row["customers"]) for row in rows]

    def test_the_explanation_adds_up_and_says_what_would_move_him(self, tour: tuple[Shell, dict[str, Any]]) -> None:
        found = tour[1]["explain"].json
        parts = [each["contribution"] for each in found["contributions"]]
        assert sum(parts) == pytest.approx(found["difference"], abs=1e-9)
        assert found["difference"] == pytest.approx(found["second"]["distance"] ** 2 - found["best"]["distance"] ** 2)
        assert found["next_move"] == tour[1]["lookup"].json["next_move"]
        assert found["last_move"]["previous"] is None
        assert (found["order"] is None) == (found["smallest"] != "order")
        shown = tour[0](f"explain {KNOWN}").out
        assert found["in_words"] in " ".join(shown.split())

    def test_verification_finds_nothing(self, tour: tuple[Shell, dict[str, Any]]) -> None:
        found = tour[1]["verify"].json
        assert (found["state_differences"], found["output_differences"], found["revision_errors"]) == (0, 0, 0)
        unheard_of = not tour[1]["erase"].json["had_state"]
        assert found["customers"] == tour[1]["bootstrap"].json["customers"] + unheard_of

    def test_the_receipt_is_whole(self, tour: tuple[Shell, dict[str, Any]]) -> None:
        found = tour[1]["erase"].json
        assert (found["customer_id"], found["complete"]) == ("12815", True)

    def test_a_pause_is_told_with_its_reason_and_lifted(self, tour: tuple[Shell, dict[str, Any]]) -> None:
        assert "prices are wrong since noon" in tour[1]["pause"].out
        assert tour[0]("resume").code == 0, "nothing to lift is no error"

    def test_the_oldest_letter_is_shown_with_its_reason(self, tour: tuple[Shell, dict[str, Any]]) -> None:
        assert "before_cutoff" in tour[1]["dlq list"].out
        assert "before_cutoff" in tour[1]["dlq show"].out

    def test_quality_is_measured_against_batch(self, tour: tuple[Shell, dict[str, Any]]) -> None:
        assert tour[1]["model show"].json["quality"]["inertia_ratio"] < 1.2

    def test_learners_are_compared_on_the_history_alone(self, tour: tuple[Shell, dict[str, Any]]) -> None:
        found = tour[1]["model compare-learners"].json
        assert (found["first"], found["until"], found["k"]) == ("2011-05-06", "2011-06-11", 3)
        rows = {row["learner"]: row for row in found["learners"]}
        assert list(rows) == ["population", "frozen", "minibatch", "river"]
        assert all(row["weeks"] == 5 and row["inertia_ratio"] >= 1 for row in rows.values())
        assert rows["population"]["inertia_ratio"] < 1.05
        assert "population" in tour[0]("model compare-learners --k 3 --from 2011-06-01").out

    def test_the_doctor_finds_nothing_wrong(self, tour: tuple[Shell, dict[str, Any]]) -> None:
        marks = {finding["part"]: finding["mark"] for finding in tour[1]["doctor"].json}
        assert {part: mark for part, mark in marks.items() if mark == "wrong"} == {}
        assert marks["Kafka"] == marks["Redis"] == marks["model"] == "ok"

    def test_tables_for_people_hold_the_same_figures(self, tour: tuple[Shell, dict[str, Any]]) -> None:
        shell, seen = tour
        shown = shell("status").out
        assert f"{seen['status'].json['counters']['repeated']:,}" in shown
        assert KNOWN in shell(f"lookup {KNOWN}").out
        assert "\x1b" not in shown, "colours outside a terminal"

    def test_an_unknown_id_is_said_clearly(self, tour: tuple[Shell, dict[str, Any]]) -> None:
        found = tour[0]("lookup nobody")
        assert (found.code, found.out) == (1, "")
        assert "unknown id 'nobody'" in found.err

    def test_a_second_bootstrap_is_refused_and_replace_makes_a_new_generation(
        self, tour: tuple[Shell, dict[str, Any]]
    ) -> None:
        refused = tour[0]("bootstrap --k 3")
        assert refused.code == 2
        assert "--replace" in refused.err
        assert tour[0]("bootstrap --k 3 --replace --json").json["k"] == 3
        assert tour[0]("status --json").json["generation"] == "2"

    def test_other_settings_than_the_states_stop_the_worker(self, tour: tuple[Shell, dict[str, Any]]) -> None:
        other = Shell(tour[0].folder, dict(tour[0].variables) | {"SEGMENTER_HORIZON_DAYS": "90"})
        found = other("run")
        assert found.code == 6
        assert "horizon_days=365" in found.err
        wrong = [f for f in other("doctor --json").json if f["mark"] == "wrong"]
        assert [f["part"] for f in wrong] == ["state"]


class TestSignals:
    def test_sigterm_ends_a_run_in_good_order_within_25_seconds(self, shell: Shell) -> None:
        assert shell("topics create").code == 0
        assert shell("bootstrap --k 3").code == 0
        with shell.running("run") as worker:
            shell.until_caught_up()
            began = time.monotonic()
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(25) == 0
        assert time.monotonic() - began < 25
        assert shell("status --json").json["workers"] == 0

    def test_a_second_signal_ends_it_at_once(self, shell: Shell) -> None:
        assert shell("topics create").code == 0
        assert shell("bootstrap --k 3").code == 0
        with shell.running("run") as worker:
            shell.until_caught_up()
            worker.send_signal(signal.SIGTERM)
            time.sleep(0.05)  # two signals at the same moment are one
            began = time.monotonic()
            worker.send_signal(signal.SIGINT)
            assert worker.wait(20) == 0
        assert time.monotonic() - began < 10, "at once, and not after the 24 s of an orderly end"
        assert shell("run --dry-run").code == 0, "what it left is sound"

    def test_a_worker_that_waits_for_a_state_ends_too_and_says_what_it_waits_for(self, shell: Shell) -> None:
        assert shell("topics create").code == 0
        with shell.running("run") as worker:
            log = shell.folder / "run.log"
            deadline = time.monotonic() + 30
            while "waiting for `segmenter bootstrap`" not in log.read_text() and time.monotonic() < deadline:
                assert worker.poll() is None, log.read_text()
        assert worker.returncode == 0
        assert "waiting for `segmenter bootstrap`" in log.read_text()


class TestDoctor:
    def test_a_topic_that_is_not_fit_comes_with_the_command_that_mends_it(self, shell: Shell) -> None:
        from consumer.transport.kafka_admin import TopicSpec, admin
        from consumer.transport.kafka_settings import KafkaSettings

        name = shell.variables["SEGMENTER_SEGMENTS_TOPIC"]
        with admin(KafkaSettings(shell.variables["SEGMENTER_KAFKA_BOOTSTRAP"])) as kafka:
            kafka.create([TopicSpec(name, 4, {"cleanup.policy": "delete"})])
        made = shell("topics create --json")
        assert made.code == 1
        assert "cleanup.policy is delete, not compact" in made.out
        (wrong,) = [f for f in shell("doctor --json").json if f["mark"] == "wrong"]
        assert name in wrong["remedy"]
        assert "--add-config cleanup.policy=compact" in wrong["remedy"]

    def test_what_cannot_be_reached_is_named_and_the_rest_still_asked(self, here: Here) -> None:
        found = here("doctor --json", **nobody(), SEGMENTER_REDIS_PASSWORD="Sesame")
        assert found.code == 1
        assert "Sesame" not in found.out + found.err
        assert [f["part"] for f in found.json if f["mark"] == "wrong"] == ["Kafka", "Redis"]
        assert all(f["remedy"] for f in found.json if f["mark"] == "wrong")


class TestErrors:
    @pytest.mark.parametrize(
        ("command", "variables", "code", "words"),
        [
            ("lookup 1", {}, 70, "segmenter doctor"),
            ("status", {"SEGMENTER_TIMEZONE": "Mars/Olympus"}, 2, "SEGMENTER_TIMEZONE"),
            ("status", {"SEGMENTER_MARGIN": "2"}, 2, "SEGMENTER_MARGIN"),
            ("status", {"SEGMENTER_FEATURES": "charm"}, 2, "charm"),
            ("lookup 1 --embedded", {}, 2, "segmenter demo"),
            ("dashboard --embedded", {}, 2, "segmenter demo"),
            ("dashboard --host 0.0.0.0", {}, 2, "SEGMENTER_API_TOKENS_FILE"),
            ("replay nowhere.csv --embedded", {}, 2, "segmenter demo"),
            ("demo --dataset nowhere", {}, 2, "no such file"),
            ("model compare-learners nowhere.csv", {}, 2, "no such file"),
            ("origin nowhere.csv", {}, 2, "no such file"),
        ],
    )
    def test_an_error_is_one_sentence_and_an_exit_code(
        self, here: Here, command: str, variables: dict[str, str], code: int, words: str
    ) -> None:
        found = here(command, **(nobody() | variables))
        assert found.code == code, found.err
        last = found.err.strip().splitlines()[-1]
        assert last.startswith("segmenter: ")
        assert words in last
        assert "Traceback" not in found.err

    @pytest.mark.parametrize(("verb", "missing"), [("serve", "fastapi"), ("dashboard", "streamlit")])
    def test_a_verb_whose_extra_is_missing_says_how_to_install_it(
        self, tmp_path: Path, verb: str, missing: str
    ) -> None:
        script = f"import sys; sys.modules[{missing!r}] = None; from consumer import cli; sys.exit(cli.run([{verb!r}]))"
        environment = Shell(tmp_path, nobody()).environment
        found = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert found.returncode == 2
        assert f"{missing} is not installed: pip install 'segmenter[{verb}]'" in found.stderr

    def test_the_dashboard_needs_nothing_of_the_extra_serve(self, tmp_path: Path) -> None:
        # starlette and uvicorn, which Streamlit brings, are left out.
        script = "import sys; sys.modules.update(fastapi=None, httptools=None, uvloop=None); from consumer import cli; "
        script += "sys.exit(cli.run(['dashboard', '--host', '0.0.0.0']))"
        found = subprocess.run(
            [sys.executable, "-c", script],
            cwd=tmp_path,
            env=Shell(tmp_path, nobody()).environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "nobody but this machine may look" in found.stderr
        assert found.returncode == 2

    def test_an_error_is_json_too_where_programs_read(self, here: Here) -> None:
        found = here("lookup 1 --json", **nobody())
        assert found.json["exit_code"] == found.code == 70

    @pytest.mark.parametrize("command", ["", "fly", "lookup", "run --speed", "replay --speed", "bootstrap --k one"])
    def test_a_wrong_command_line_ends_with_2_and_says_what_is_wrong(self, here: Here, command: str) -> None:
        found = here(command)
        assert found.code == 2
        assert "Usage" in found.out + found.err or found.err.startswith("Error: ")
        assert "Traceback" not in found.err

    def test_options_that_no_file_could_be_read_with_are_told(self, shell: Shell) -> None:
        shell("topics create")
        for options, words in (
            ("--until 31.12.2011", "2011-06-01"),
            ("--decimal x", "--decimal"),
            ("--map customer=Client", "customer"),
            ("--until 1999-01-01", "no line before"),
        ):
            found = shell(f"bootstrap {options}")
            assert (found.code, words in found.err) == (2, True), found.err

    def test_a_comparison_that_cannot_be_made_says_from_when_to_when_it_could(self, here: Here) -> None:
        small_export(here.folder / "Dataset")
        for options, words in (
            ("--from 2011-04-01", "goes from 2011-04-01 to 2011-06-10"),
            ("--from 2011-06-05", "7 days"),
            ("--from 5.6.2011", "2011-12-10"),
            ("--from 2011-04-02 --k 10", "different customers"),
        ):
            found = here(f"model compare-learners {options}")
            assert (found.code, words in found.err) == (2, True), found.err

    def test_a_directory_of_somebody_else_is_never_emptied(self, here: Here) -> None:
        precious = here.folder / "precious"
        precious.mkdir()
        (precious / "letter").write_text("dear")
        small_export(here.folder / "Dataset")
        found = here("demo --directory precious")
        assert found.code == 2
        assert (precious / "letter").read_text() == "dear"


class TestConfig:
    SECRETS: ClassVar = {
        "SEGMENTER_REDIS_URL": "redis://user:SesameOne@localhost:1/0",
        "SEGMENTER_REDIS_PASSWORD": "SesameTwo",
        "SEGMENTER_KAFKA_SASL_PASSWORD": "SesameThree",
        "SEGMENTER_ERASURE_KEY": "SesameFour",
    }

    def test_secrets_are_never_printed(self, here: Here) -> None:
        for command in ("config show", "config show --json", "--traceback lookup 1"):
            found = here(command, **self.SECRETS)
            assert "Sesame" not in found.out + found.err, command
        shown = {row["setting"]: row["value"] for row in here("config show --json", **self.SECRETS).json}
        assert shown["SEGMENTER_REDIS_URL"] == "redis://********@localhost:1/0"
        assert shown["SEGMENTER_ERASURE_KEY"] == "********"

    def test_each_setting_comes_with_its_source(self, here: Here) -> None:
        (here.folder / ".env").write_text("SEGMENTER_CURRENCY=EUR\nSEGMENTER_TIMEZONE=Europe/Berlin\n")
        found = here("config show --json", SEGMENTER_TIMEZONE="Asia/Tokyo").json
        rows = {row["setting"]: (row["value"], row["source"]) for row in found}
        assert rows["SEGMENTER_CURRENCY"] == ("EUR", ".env")
        assert rows["SEGMENTER_TIMEZONE"] == ("Asia/Tokyo", "environment")
        assert rows["SEGMENTER_MARGIN"] == (0.95, "default")
        assert rows.keys() == {f"SEGMENTER_{name.upper()}" for name in Settings.model_fields}

    def test_env_example_names_every_setting_with_its_default(self) -> None:
        lines = (REPOSITORY / ".env.example").read_text(encoding="utf-8").splitlines()
        given = dict(line.removeprefix("# ").split("=", 1) for line in lines if "=" in line and "SEGMENTER_" in line)
        assert list(given) == [f"SEGMENTER_{name.upper()}" for name in Settings.model_fields]
        plain = json.loads(Settings(_env_file=None).model_dump_json())
        for name, field in Settings.model_fields.items():
            shown = given[f"SEGMENTER_{name.upper()}"]
            if "Secret" in str(field.annotation):
                continue
            value = ",".join(plain[name]) if isinstance(plain[name], list) else plain[name]
            assert shown == ("" if value is None else str(value)), name
