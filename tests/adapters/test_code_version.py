import re

from genre_pipeline.adapters import code_version as module
from genre_pipeline.adapters.code_version import code_version


def test_a_checkout_is_named_by_its_commit_and_an_installation_by_its_version(monkeypatch) -> None:
    assert re.fullmatch(r"[0-9a-f]{40}(-modified)?|\d+\.\d+.*", code_version())
    monkeypatch.setattr(module, "_PACKAGE", module.Path("/"))
    assert re.fullmatch(r"\d+\.\d+.*", code_version.__wrapped__())
