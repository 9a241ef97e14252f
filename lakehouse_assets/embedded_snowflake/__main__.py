"""The process of the embedded account: `python -m lakehouse_assets.embedded_snowflake --home DIR
[--idle-seconds N] [--detach]`.

What belongs here: the life of the process (lock, leaving the terminal, exit). What does not: serving (`serving.py`).
"""

import argparse
import logging
import os
import sys
from pathlib import Path

from lakehouse_assets.embedded_snowflake.address import account_directory, try_lock
from lakehouse_assets.private import open_home


class _Unused:
    """Keeps out what the connector imports where it is installed, for clouds and data frames that this server never
    touches: half of its start-up.
    """

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Raise ImportError for an unused package, else leave the import to others."""
        if name.partition(".")[0] in ("pandas", "boto3", "botocore", "s3transfer"):
            raise ImportError(f"{name} is not used by the embedded account")


def main() -> int:
    """Serve the account of a home until it is stopped or idle. Exit code 0 as well when another process already serves
    it.
    """
    parser = argparse.ArgumentParser(
        prog="python -m lakehouse_assets.embedded_snowflake",
        description="Serve the embedded Snowflake account.",
    )
    parser.add_argument(
        "--home", type=Path, required=True, help="directory below which the account keeps its catalogue"
    )
    parser.add_argument("--idle-seconds", type=int, default=1800, help="stop after so many seconds without a request")
    parser.add_argument("--detach", action="store_true", help="serve in the background")
    arguments = parser.parse_args()

    directory = account_directory(arguments.home)
    open_home(directory.parent)
    directory.mkdir(exist_ok=True)
    lock = try_lock(directory)
    if lock is None:
        return 0
    # Left behind by a server that was killed: nobody may be sent to that address, and nobody may end what has that
    # process id by now.
    (directory / "server.json").unlink(missing_ok=True)
    # The fork shares the lock: it passes to the child without a moment in which nobody holds it, and the parent leaves
    # no zombie behind.
    if arguments.detach and os.fork():
        os._exit(0)

    sys.meta_path.insert(0, _Unused())
    from lakehouse_assets.embedded_snowflake.serving import serve

    code = 0
    try:
        serve(directory, arguments.idle_seconds)
    except Exception:
        logging.getLogger(__name__).exception("the account cannot be served")
        code = 1
    logging.shutdown()
    # The lock goes with the process, not before it: whoever gets it may rely on nothing of this server being left.
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
