"""The repository as a whole: what is pinned is pinned, what is promised is there, and nothing names a registry."""

import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.harness.supply import images, inexact, locked, named, registries, unpinned

REPOSITORY = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "deploy/requirements.lock")
PACKAGES = ("features", "models", "reports", "consumer")


def text(path: str) -> str:
    return (REPOSITORY / path).read_text(encoding="utf-8")


def project() -> dict[str, Any]:
    return tomllib.loads(text("pyproject.toml"))


# --- what is installed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_is_one_release_with_its_hashes_and_no_address(lock: str) -> None:
    assert len(locked(text(lock))) > 20
    assert unpinned(text(lock)) == []
    assert not re.search(r"(?m)^\s*-(?!-hash)|://", text(lock))


def test_the_lock_holds_all_that_the_project_asks_for() -> None:
    metadata = project()["project"]
    wanted = named(metadata["dependencies"]) | named(metadata["optional-dependencies"]["dev"])
    assert wanted <= set(locked(text("requirements.lock")))


def test_the_image_gets_the_same_releases_without_the_tools_of_development() -> None:
    image, everything = (locked(text(lock)) for lock in reversed(LOCKS))
    assert named(project()["project"]["dependencies"]) <= set(image)
    assert image.items() <= everything.items()
    tools = named(project()["project"]["optional-dependencies"]["dev"]) - {
        "jsonschema"
    }  # the dashboard's plots need it
    assert not set(image) & tools


def test_the_image_can_serve_show_and_trace() -> None:
    extras = project()["project"]["optional-dependencies"]
    wanted = named([*extras["serve"], *extras["dashboard"], *extras["otel"]])
    assert wanted <= set(locked(text("deploy/requirements.lock")))


@pytest.mark.parametrize("name", ["clv", "spark"])
def test_an_extra_of_its_own_is_locked_and_changes_no_release_of_the_others(name: str) -> None:
    lock = f"requirements-{name}.lock"
    extra, everything = (locked(text(each)) for each in (lock, "requirements.lock"))
    assert unpinned(text(lock)) == []
    assert named(project()["project"]["optional-dependencies"][name]) <= set(extra)
    shared = extra.keys() & everything.keys()
    assert {name: extra[name] for name in shared} == {name: everything[name] for name in shared}


def test_python_3_11_0_to_3_11_2_find_what_redis_py_wants_there_only() -> None:
    # Debian 12 has 3.11.2; a lock made on a later one would lack it, and a hashed installation would refuse to go on.
    assert "async-timeout" in locked(text("requirements.lock"))


def test_a_wheel_carries_every_file_that_the_packages_need(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "LICENSE", *(["README.md"] if (REPOSITORY / "README.md").exists() else [])):
        shutil.copy(REPOSITORY / name, tmp_path)
    for package in PACKAGES:
        shutil.copytree(REPOSITORY / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    wanted = {str(file.relative_to(tmp_path)) for package in PACKAGES for file in (tmp_path / package).rglob("*.*")}
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", tmp_path / "dist", tmp_path], check=True)
    (wheel,) = (tmp_path / "dist").glob("segmenter-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert wanted <= set(archive.namelist())


# --- no registry is named -------------------------------------------------------------------------------------------


def tracked() -> Iterator[Path]:
    """The text files of the project, those not yet committed included."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        file = REPOSITORY / name
        if file.is_file() and b"\0" not in file.read_bytes()[:8192]:
            yield file


def test_no_file_names_a_package_registry() -> None:
    # Whoever installs decides where from: a mirror inside a firm works because nothing here says otherwise.
    for file in tracked():
        content = file.read_text(encoding="utf-8", errors="replace")
        assert registries(content) == [], file


# --- make -----------------------------------------------------------------------------------------------------------


def targets() -> dict[str, str]:
    """The targets of the Makefile that are meant for people, each with its line of help."""
    return dict(re.findall(r"(?m)^([a-z-]+):[^#\n]*## (.+)$", text("Makefile")))


def test_make_help_lists_every_target() -> None:
    phony = re.search(r"(?m)^\.PHONY: (.+)$", text("Makefile"))
    assert phony
    assert set(phony[1].split()) == set(targets())
    said = subprocess.run(
        ["make", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True, env=_outside_make()
    ).stdout
    assert set(re.findall(r"(?m)^  make ([\w-]+) ", said)) == set(targets())


def test_every_make_command_in_the_documentation_exists() -> None:
    for file in [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("Dataset/*.md")]:
        commands = re.findall(r"(?m)^\s*(?:\$ )?make ([a-z]+)|`make ([a-z]+)", file.read_text(encoding="utf-8"))
        assert {first or second for first, second in commands} <= set(targets()), file


def test_an_interpreter_that_is_too_old_or_missing_is_named(tmp_path: Path) -> None:
    done = _make(tmp_path, "PYTHON=no-such-python")
    assert done.returncode != 0
    assert "no-such-python is not Python 3.11 to 3.14" in done.stderr


def test_a_missing_venv_module_is_named_with_its_remedy(tmp_path: Path) -> None:
    python = tmp_path / "python-without-venv"
    python.write_text(
        f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexec "{sys.executable}" "$@"\n', encoding="utf-8"
    )
    python.chmod(0o755)
    done = _make(tmp_path, f"PYTHON={python}")
    assert done.returncode != 0
    assert "lacks its venv module" in done.stderr
    assert "apt install python3-venv" in done.stderr


def _make(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, directory)
    command = ["make", "-C", str(directory), "demo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=_outside_make())


def _outside_make() -> dict[str, str]:
    """The environment without what `make test` hands down to a make inside it."""
    return {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "PYTHON"}}


def test_continuous_integration_runs_make_test() -> None:
    script = text(".ci/run")
    assert (REPOSITORY / ".ci/run").stat().st_mode & stat.S_IXUSR
    assert "set -euo pipefail" in script
    assert "export CI=true" in script
    assert "make test" in script


@pytest.mark.parametrize(
    ("said", "code", "verdict", "passes"),
    [
        ("No known vulnerabilities found", 0, "no known vulnerability", True),
        ("Found 1 known vulnerability in 1 package\nflask 0.5 PYSEC-2019-179", 1, "PYSEC-2019-179", False),
        ("Found 2 known vulnerabilities in 1 package\nConnectionError: its name", 1, "Found 2 known", False),
        ("Tip: your network may be blocking this service.", 1, "cannot be reached", True),
        ("idna: Dependency not found and could not be audited", 0, "knows nothing of 1", True),
        ("ERROR: a lock that cannot be read", 1, "a lock that cannot be read", False),
    ],
)
def test_the_audit_fails_on_a_finding_and_says_when_it_could_not_ask(
    tmp_path: Path, said: str, code: int, verdict: str, passes: bool
) -> None:
    audit = tmp_path / "pip-audit"
    audit.write_text(f"#!/bin/sh\ncat <<'SAID'\n{said}\nSAID\nexit {code}\n", encoding="utf-8")
    audit.chmod(0o755)
    done = subprocess.run(
        ["sh", REPOSITORY / ".ci/audit", audit, "requirements.lock"], capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) is passes
    assert verdict in done.stdout + done.stderr


# --- containers -----------------------------------------------------------------------------------------------------


def services() -> dict[str, Any]:
    composed: dict[str, Any] = yaml.safe_load(text("docker-compose.yml"))
    found: dict[str, Any] = composed["services"]
    return found


def test_every_image_has_an_exact_version() -> None:
    found = images(text("docker-compose.yml"), text("deploy/Dockerfile"))
    assert len(found) >= 6
    assert inexact(found) == []


def test_the_worker_waits_for_healthy_servers_and_has_its_settings() -> None:
    worker = services()["worker"]
    assert worker["depends_on"] == {name: {"condition": "service_healthy"} for name in ("kafka", "valkey")}
    assert "healthcheck" in services()["kafka"]
    assert "healthcheck" in services()["valkey"]
    assert {"SEGMENTER_KAFKA_BOOTSTRAP", "SEGMENTER_REDIS_URL", "SEGMENTER_NAMESPACE"} <= set(worker["environment"])


def test_the_settings_in_compose_are_settings() -> None:
    from consumer.settings import Settings

    known = {f"SEGMENTER_{name.upper()}" for name in Settings.model_fields}
    assert set(services()["worker"]["environment"]) <= known


def test_the_store_in_compose_keeps_what_it_acknowledged_and_evicts_nothing() -> None:
    command = services()["valkey"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"


def test_no_topic_is_made_by_a_typing_error() -> None:
    assert services()["kafka"]["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_servers_without_a_password_are_published_to_this_machine_only() -> None:
    ports = [port for service in services().values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_image_is_not_root_and_installs_by_hash() -> None:
    dockerfile = text("deploy/Dockerfile")
    installs = re.findall(r"(?m)^RUN .*pip install (.+)$", dockerfile)
    assert "--require-hashes -r requirements.lock" in installs[0]
    assert "--no-deps ." in installs[1]
    (user,) = re.findall(r"(?m)^USER (\S+)$", dockerfile)
    assert int(user) > 0
    assert dockerfile.rindex("USER") > dockerfile.rindex("FROM")


def test_all_that_the_image_copies_reaches_the_builder() -> None:
    let_in = set(re.findall(r"(?m)^!(\S+)$", text(".dockerignore")))
    copied = [
        source
        for line in re.findall(r"(?m)^COPY (?!--from)(.+)$", text("deploy/Dockerfile"))
        for source in line.split()[:-1]
    ]
    assert set(copied) == let_in
    assert set(PACKAGES) <= let_in
