"""`segmenter` of a version to come, whose state schema is one above: `python -m tests.harness.next_version VERB ...`.

Its layout is today's; the byte that names the schema is not, and this is all that an older version can look at.
"""

from __future__ import annotations

import sys

from features import codec

NEXT = codec.SCHEMA + 1


def main() -> None:
    """Let the code know the next schema before anything else reads which it knows."""
    vars(codec)["SCHEMA"] = NEXT
    from consumer import cli

    sys.exit(cli.run(sys.argv[1:]))


if __name__ == "__main__":
    main()
