import math
from pathlib import Path

import numpy as np
import pytest

from genre_pipeline.features.text_weighted import WeightedText, WeightedTextConfig
from genre_pipeline.models.bert import load_tokenizer, load_word_embeddings, locate_encoder, tiny_encoder
from tests.features.extractor_contract import FittedExtractorContract

TEXTS = ["comet comet bread", "comet", "waltz"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("encoder"), ["comet", "bread", "waltz"])


class TestWeightedTextContract(FittedExtractorContract):
    @pytest.fixture
    def extractor(self, encoder: Path) -> WeightedText:
        return WeightedText(WeightedTextConfig(source=str(encoder)))


@pytest.mark.parametrize(
    ("weighting", "comet", "bread"),
    [("smoothed", 2 * (math.log(4 / 3) + 1), math.log(4 / 2) + 1), ("article", 2 / 2, 1 / 1)],
)
@pytest.mark.parametrize(("pooling", "divisor"), [("mean", 3), ("sum", 1)])
def test_a_vector_is_the_weighted_sum_of_token_embeddings(
    encoder: Path, weighting: str, comet: float, bread: float, pooling: str, divisor: int
) -> None:
    files = locate_encoder(str(encoder))
    embeddings, tokenizer = load_word_embeddings(files), load_tokenizer(files.folder)
    rows = embeddings[tokenizer.convert_tokens_to_ids(["comet", "bread"])]
    config = WeightedTextConfig(source=str(encoder), weighting=weighting, pooling=pooling, normalise=False)  # type: ignore[arg-type]
    vector = WeightedText(config).fit(TEXTS).encode([TEXTS[0]])[0]
    # The smoothed weighting scales each text's weights to length 1 before they are pooled.
    length = math.hypot(comet, bread) if weighting == "smoothed" else 1
    np.testing.assert_allclose(vector, (comet * rows[0] + bread * rows[1]) / length / divisor, rtol=1e-5, atol=1e-7)


def test_vectors_have_length_one_unless_there_is_no_token(encoder: Path) -> None:
    vectors = WeightedText(WeightedTextConfig(source=str(encoder))).fit(TEXTS).encode([*TEXTS, ""])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 1, 0], rtol=1e-6)


def test_the_settings_are_in_the_identity(encoder: Path) -> None:
    settings = [{}, {"weighting": "article"}, {"normalise": False}, {"pooling": "sum"}]
    configs = [WeightedTextConfig(source=str(encoder), **setting) for setting in settings]  # type: ignore[arg-type]
    assert len({WeightedText(config).fit(TEXTS).model for config in configs}) == 4


def test_blocks_do_not_show(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = TEXTS * 5
    config = WeightedTextConfig(source=str(encoder))
    whole = WeightedText(config).fit(texts)
    expected = whole.encode(texts)
    monkeypatch.setattr("genre_pipeline.features.text_weighted._ROWS_AT_ONCE", 4)
    blocked = WeightedText(config).fit(texts)
    assert blocked.model == whole.model
    np.testing.assert_allclose(blocked.encode(texts), expected, atol=1e-6)
