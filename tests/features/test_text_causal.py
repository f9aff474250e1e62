from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from genre_pipeline.contracts.errors import ConfigError, ModelFileError
from genre_pipeline.features.text_causal import CausalText, CausalTextConfig
from genre_pipeline.models.causal import tiny_causal
from tests.features.extractor_contract import CORPUS, ExtractorContract


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_causal(tmp_path_factory.mktemp("causal"), ["comet", "bread"])


def config(folder: Path, **settings: object) -> CausalTextConfig:
    return CausalTextConfig(source=str(folder), max_tokens=64, **settings)  # type: ignore[arg-type]


def naive(folder: Path, texts: list[str], pooling: str) -> np.ndarray:
    """One text at a time, no padding: what every batching must agree with."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    rows = []
    for text in texts:
        tokens = tokenizer(text, truncation=True, max_length=64, return_tensors="pt")
        with torch.no_grad():
            states = model(input_ids=tokens["input_ids"]).last_hidden_state[0]
        pooled = states.mean(0) if pooling == "mean" else states[-1]
        rows.append((pooled / pooled.norm()).numpy())
    return np.stack(rows)


class TestCausalTextContract(ExtractorContract):
    @pytest.fixture
    def extractor(self, folder: Path) -> CausalText:
        return CausalText(config(folder))


class TestLastTokenContract(ExtractorContract):
    @pytest.fixture
    def extractor(self, folder: Path) -> CausalText:
        return CausalText(config(folder, pooling="last"))


@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize("tokens_per_batch", [1, 90, 100_000])
def test_padding_on_the_left_agrees_with_one_text_at_a_time(folder: Path, pooling: str, tokens_per_batch: int) -> None:
    vectors = CausalText(config(folder, pooling=pooling, tokens_per_batch=tokens_per_batch)).encode(CORPUS)
    np.testing.assert_allclose(vectors, naive(folder, CORPUS, pooling), atol=1e-5)


def test_an_empty_text_says_nothing_and_a_prompt_is_read(folder: Path) -> None:
    plain, prompted = CausalText(config(folder)), CausalText(config(folder, prompt="Query: "))
    assert not plain.encode(["", "comet"])[0].any()
    np.testing.assert_allclose(prompted.encode(["comet"]), plain.encode(["Query: comet"]), atol=1e-6)
    assert prompted.model != plain.model
    assert CausalText(config(folder, pooling="last")).model != plain.model
    assert CausalText(config(folder, tokens_per_batch=7)).model == plain.model


def test_more_tokens_than_the_model_reads_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="at most 128 tokens"):
        CausalText(CausalTextConfig(source=str(folder))).encode(["comet"])


def test_a_missing_model_names_the_three_ways() -> None:
    with pytest.raises(ModelFileError) as caught:
        _ = CausalText(CausalTextConfig(source="./nowhere")).model
    assert all(way in str(caught.value) for way in ("./nowhere", "directory", "pip install", "hub id"))
