"""The reference of settings is written from the classes, and the copy in docs/ is the same."""

from pathlib import Path

from genre_pipeline.config_reference import reference

DOCS = Path(__file__).parents[1] / "docs" / "configuration.md"


def test_the_copy_in_the_docs_is_current() -> None:
    assert DOCS.read_text(encoding="utf-8") == reference(), "write it again: genre config > docs/configuration.md"


def test_every_key_has_a_meaning() -> None:
    rows = [line for line in reference().splitlines() if line.startswith("| `")]
    assert len(rows) > 50
    assert not [row for row in rows if row.rstrip().endswith("|  |")]
