from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from genre_pipeline.config import GenreConfig, load_config
from genre_pipeline.contracts.errors import ConfigError

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("GENRE_")]:
        monkeypatch.delenv(name)


def _written(text: str) -> Path:
    path = Path("shop.yaml")
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_file_everything_has_its_default() -> None:
    assert load_config() == GenreConfig()


def test_the_projects_own_file_is_valid() -> None:
    assert load_config(ROOT / "genre.yaml").source is not None


def test_the_file_here_is_found_and_a_named_one_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("genre.yaml").write_text("seed: 1")
    assert load_config().seed == 1
    Path("other.yaml").write_text("seed: 2")
    monkeypatch.setenv("GENRE_CONFIG", "other.yaml")
    assert load_config().seed == 2
    assert load_config(Path("genre.yaml")).seed == 1
    assert load_config(overrides={"seed": 3}).seed == 3


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "---\n"])
def test_an_empty_file_is_all_defaults(text: str) -> None:
    assert load_config(_written(text)) == GenreConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nsource:\n  kind: folder\n  pth: x\n", r"shop\.yaml, line 4: source\.pth: Extra inputs"),
        ("seeed: 1\n", r"shop\.yaml, line 1: seeed: Extra inputs"),
        ("seed: many\n", r"shop\.yaml, line 1: seed: .*valid integer"),
        ("publishing:\n  k: 0\n", r"shop\.yaml, line 2: publishing\.k: .*greater than or equal to 1"),
        ("recommenders:\n  ease: {regularisation: 0}\n", r"line 2: recommenders\.ease\.reg\w+: .*greater than 0"),
        ("recommenders:\n  enabled: [ease]\n", r"line 2: recommenders\.enabled: .*'popularity' has to be named"),
        ("recommenders:\n  enabled:\n  - popularity\n  - magic\n", r"line 2: recommenders\.enabled\.1: .*'als'"),
        ("event_weights: {view: -1}\n", r"line 1: event_weights\.view: .*greater than or equal to 0"),
        ("features:\n  for_recommenders: [text_llm]\n  techniques: []\n", "which features.techniques leaves out"),
        ("recommenders:\n  content: {vectors: text_weighted}\n", "'text_weighted', which features.for_recommenders"),
        ("a: [1\n", r"shop\.yaml, line 2: expected ',' or '\]', .* is not YAML"),
        ("- seed\n", r"shop\.yaml does not hold named keys"),
        ("seed\n", r"shop\.yaml does not hold named keys"),
        ("1: 2\n", r"shop\.yaml does not hold named keys"),
        ("false\n", r"shop\.yaml does not hold named keys"),
        ("seed: 1\nhome: x\nseed: 2\n", r"written twice \('shop\.yaml, line 3: seed'\)"),
        ("publishing:\n  k: 1\n  k: 2\n", r"written twice \('shop\.yaml, line 3: k'\)"),
    ],
)  # fmt: skip
def test_a_wrong_file_names_line_key_and_remedy(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(_written(text))
    assert caught.value.remedy


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"line 1: seed: .*; .*line 2: hom: "):
        load_config(_written("seed: x\nhom: y\n"))


def test_a_file_that_is_not_there_or_no_text() -> None:
    with pytest.raises(ConfigError, match=r"'nowhere\.yaml' cannot be read: No such file"):
        load_config(Path("nowhere.yaml"))
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(Path())
    Path("shop.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load_config(Path("shop.yaml"))


def test_variables_win_over_the_file_key_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    file = _written("seed: 1\nserving: {host: 10.0.0.1, port: 8001}\nevent_weights: {view: 0.5}\n")
    monkeypatch.setenv("GENRE_SEED", "2")
    monkeypatch.setenv("GENRE_SERVING__PORT", "9000")
    monkeypatch.setenv("GENRE_RECOMMENDERS__EASE__REGULARISATION", "7.5")
    monkeypatch.setenv("GENRE_EVENT_WEIGHTS", '{"buy": 3}')
    monkeypatch.setenv("GENRE_DATABASE_URL", "postgresql://u:secret@h/d")
    found = load_config(file)
    assert (found.seed, found.serving.host, found.serving.port) == (2, "10.0.0.1", 9000)
    assert found.recommenders.ease.regularisation == 7.5
    assert found.event_weights == {"buy": 3.0, "view": 0.5}
    assert found.tables_url == "postgresql://u:secret@h/d"
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("GENRE_SEEED", "1", r"names no setting \('GENRE_SEEED'\)\. Known: .*GENRE_DATABASE_URL, "),
        ("GENRE_SERVING__PROT", "1", r"GENRE_SERVING__PROT: serving\.prot: Extra inputs"),
        ("GENRE_SEED", "many", r"GENRE_SEED: seed: .*valid integer"),
        ("GENRE_RECOMMENDERS__ENABLED", "ease", "environment variable is not JSON"),
        ("GENRE_RECOMMENDERS__ENABLED", '["ease"]', "GENRE_RECOMMENDERS__ENABLED: .*'popularity' has to be named"),
    ],
)
def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        load_config(_written("seed: 1\n"))


def test_a_wrong_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENRE_DATABASE_URL", '{"password": "hunter2"}')
    try:
        found = repr(load_config())
    except ConfigError as error:
        found = str(error)
    assert "hunter2" not in found


def test_home_may_be_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    config = load_config(_written("home: ~/shop\n"))
    assert config.home == Path("/home/ada/shop")
    assert config.tables_url == "sqlite:////home/ada/shop/genre.db"


def test_every_key_is_described() -> None:
    def fields(model: type[BaseModel], path: str) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        for name, field in model.model_fields.items():
            found[path + name] = field.description
            for inner in _models(field.annotation):
                found |= fields(inner, f"{path}{name}.")
        return found

    described = fields(GenreConfig, "")
    assert len(described) > 80
    assert [key for key, text in described.items() if not text] == []


def _models(annotation: Any) -> list[type[BaseModel]]:
    from typing import get_args

    inner = [model for part in get_args(annotation) for model in _models(part)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else inner
