"""`python -m celerylite`, and the console script."""

from __future__ import annotations

import sys

from celerylite import alias


def main() -> None:
    """Run the command line and exit with its code."""
    if "--as-celery" in sys.argv or alias.wanted_by_environment():
        # Before the commands are imported: they bring kombu, which imports billiard where that is installed.
        alias.install_as_celery()
    from celerylite.bin.celery import main as run

    sys.exit(run())


if __name__ == "__main__":
    main()
