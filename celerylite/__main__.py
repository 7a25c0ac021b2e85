"""`python -m celerylite`, and the console script."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    # Imported late, so that `celerylite.__main__` costs nothing to those who only look it up.
    from celerylite.bin.celery import main as run

    sys.exit(run())


if __name__ == "__main__":
    main()
