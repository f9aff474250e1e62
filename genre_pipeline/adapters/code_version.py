"""Which code made something: the git commit of this package's checkout, or the version it was installed as."""

import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


@cache
def code_version() -> str:
    """40 hex digits of the commit, with `-modified` where tracked files of the package differ from it; outside a
    checkout, the package's version.
    """
    commit = _git("rev-parse", "HEAD")
    if commit is None or _git("ls-files", "--error-unmatch", str(_PACKAGE / "cli.py")) is None:
        return version("genre-pipeline")
    return (
        f"{commit}-modified" if _git("status", "--porcelain", "--untracked-files=no", "--", str(_PACKAGE)) else commit
    )


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=_PACKAGE, capture_output=True, text=True, check=False)  # noqa: S603, S607
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
