"""The demo's worker: a process of its own, so that it and the replay have a core each.

python -m consumer.demo.demo_worker <directory>     joins the embedded pair that runs on the directory
"""

from __future__ import annotations

import sys
from pathlib import Path

from consumer.commands.cli_output import Output
from consumer.commands.place import placed
from consumer.commands.running import run_worker
from consumer.exits import ExitCode
from consumer.service import explain


def main() -> int:
    """Work until SIGTERM; return the exit code."""
    output = Output(as_json=True)
    try:
        with placed(True, Path(sys.argv[1])) as place:
            run_worker(place, output)
    except Exception as error:  # noqa: BLE001 -- the rim of the process
        code, sentence = explain(error)
        output.error(code, sentence)
        return int(code)
    return int(ExitCode.DONE)


if __name__ == "__main__":
    sys.exit(main())
