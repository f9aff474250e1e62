from pathlib import Path

import pytest

from genre_pipeline.config import GenreConfig
from tests import scenario
from tests.offline import shop


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenario.write_standard_folder(tmp_path_factory.mktemp("shop") / "world")


@pytest.fixture(scope="session")
def order_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shop.order_only_folder(tmp_path_factory.mktemp("shop") / "order")


@pytest.fixture
def config(tmp_path: Path) -> GenreConfig:
    return shop.quick_config(tmp_path / "home")
