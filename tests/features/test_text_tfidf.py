import math

import numpy as np
import pytest

from genre_pipeline.features.text_bag_of_words import BagOfWordsConfig
from genre_pipeline.features.text_tfidf import Tfidf, TfidfConfig
from tests.features.extractor_contract import FittedExtractorContract

TEXTS = ["cat cat dog", "cat", "emu"]


class TestSmoothedContract(FittedExtractorContract):
    @pytest.fixture
    def extractor(self) -> Tfidf:
        return Tfidf()


class TestArticleContract(FittedExtractorContract):
    @pytest.fixture
    def extractor(self) -> Tfidf:
        return Tfidf(TfidfConfig(weighting="article"))


def test_smoothed_weights_are_the_standard_formula() -> None:
    cat, dog = 2 * (math.log(4 / 3) + 1), math.log(4 / 2) + 1
    length = math.hypot(cat, dog)
    expected = [[cat / length, dog / length, 0], [1, 0, 0], [0, 0, 1]]
    np.testing.assert_allclose(Tfidf().fit(TEXTS).encode(TEXTS), expected, rtol=1e-6)


def test_article_weights_are_term_over_document_frequency() -> None:
    tfidf = Tfidf(TfidfConfig(weighting="article")).fit(TEXTS)
    np.testing.assert_allclose(tfidf.encode(TEXTS), [[2 / 2, 1 / 1, 0], [1 / 2, 0, 0], [0, 0, 1]], rtol=1e-6)


def test_a_text_of_unknown_words_is_all_zero() -> None:
    np.testing.assert_array_equal(Tfidf().fit(TEXTS).encode(["yak"]), np.zeros((1, 3), dtype=np.float32))


def test_the_identity_tells_weightings_and_words_apart() -> None:
    configs = [
        TfidfConfig(),
        TfidfConfig(weighting="article"),
        TfidfConfig(words=BagOfWordsConfig(max_words=2)),
    ]
    assert len({Tfidf(config).fit(TEXTS).model for config in configs}) == 3
