"""`graph`: dot for the parts of a worker, and for the workers that answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Run = Callable[..., Result]


def test_parts_and_steps(run: Run, project: Path) -> None:
    (project / "clisteps.py").write_text(
        "from celerylite import Celery\n"
        "app = Celery('clisteps', broker='memory://', set_as_current=False)\n"
        "class First:\n    name = 'clisteps.First'\n    requires = ()\n"
        "class Second:\n    requires = (First, 'celery.worker.components:Pool')\n"
        "app.steps['worker'].update((First, Second))\n"
    )
    text = run("-A", "clisteps", "graph", "bootsteps").stdout
    assert text.startswith("digraph dependencies {") and text.endswith("}\n")
    assert '"Control process" -> "Main process"' in text
    assert '"Second" -> "First"' in text and '"Second" -> "Pool"' in text and '"First" -> "Main process"' in text
