"""The lock and the files around the code agree with one another."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK_LINES = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
LOCK = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in LOCK_LINES)}


def test_the_lock_holds_exact_public_versions_only() -> None:
    assert [line for line in LOCK_LINES if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", line)] == []


def test_the_lock_names_each_package_once() -> None:
    assert len(LOCK) == len(LOCK_LINES)


@pytest.mark.parametrize("requirement", PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["dev"])
def test_the_lock_satisfies(requirement: str) -> None:
    wanted = Requirement(requirement)
    assert wanted.specifier.contains(LOCK[canonicalize_name(wanted.name)])


def test_make_lock_pins_what_the_lock_says() -> None:
    pins = re.findall(r"^(?:LOCK_PINS|MODEL_PACKAGES) := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {pin for line in pins for pin in line.split()} <= set(LOCK_LINES)


def test_every_make_command_is_explained() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony is not None
    assert {name for name in phony[1].split() if not re.search(rf"^{name}:.* ## .+$", makefile, re.MULTILINE)} == set()


def test_the_ci_script_is_valid_and_executable() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0


def test_the_workspace_loads_the_definitions() -> None:
    workspace = yaml.safe_load((ROOT / "workspace.yaml").read_text())
    assert [entry["python_module"]["module_name"] for entry in workspace["load_from"]] == ["genre_pipeline.definitions"]


def test_links_between_documents_lead_somewhere() -> None:
    pages = [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#\s]+)", page.read_text())]
    local = [(page, link) for page, link in links if not re.match(r"[a-z]+:", link)]
    assert [(page.name, link) for page, link in local if not (page.parent / link).exists()] == []
