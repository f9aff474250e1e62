import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from genre_pipeline.features.text_bag_of_words import BagOfWords, BagOfWordsConfig
from tests.features.extractor_contract import FittedExtractorContract


class TestBagOfWordsContract(FittedExtractorContract):
    @pytest.fixture
    def extractor(self) -> BagOfWords:
        return BagOfWords()


def test_words_are_counted_by_the_stated_rule() -> None:
    bag = BagOfWords().fit(["Bread, BREAD & don't", "Ｂread 東京 2001 x", ""])
    expected = pl.DataFrame(
        {"word": ["2001", "bread", "don", "東京"], "documents": [1, 2, 1, 1], "position": [0, 1, 2, 3]},
        schema_overrides={"documents": pl.UInt32},
    )
    assert_frame_equal(bag.vocabulary, expected)
    counts = bag.encode_sparse(["Bread, BREAD & don't", "bread new", ""])
    np.testing.assert_array_equal(counts.toarray(), [[0, 2, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]])


def test_rare_and_frequent_words_are_left_out() -> None:
    texts = ["the cat", "the cat dog", "the dog ant", "the"]
    config = BagOfWordsConfig(min_documents=2, max_document_share=0.75)
    assert BagOfWords(config).fit(texts).vocabulary["word"].to_list() == ["cat", "dog"]


def test_a_full_vocabulary_keeps_the_words_of_most_texts_then_the_alphabet() -> None:
    texts = ["zebra ant cat", "zebra bee cat", "zebra"]
    assert BagOfWords(BagOfWordsConfig(max_words=3)).fit(texts).vocabulary["word"].to_list() == ["ant", "cat", "zebra"]


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"word{number % 7} word{number % 3} common" for number in range(50)]
    whole = BagOfWords().fit(texts)
    monkeypatch.setattr("genre_pipeline.features.text_bag_of_words._ROWS_AT_ONCE", 8)
    blocked = BagOfWords().fit(texts)
    assert blocked.model == whole.model
    np.testing.assert_array_equal(blocked.encode(texts), whole.encode(texts))


def test_the_identity_depends_on_the_settings() -> None:
    texts = ["bread cat", "bread"]
    one, other = BagOfWords().fit(texts), BagOfWords(BagOfWordsConfig(max_words=10)).fit(texts)
    assert one.model != other.model


@given(st.lists(st.text(alphabet="ab cé", max_size=20), min_size=1, max_size=8))
@settings(max_examples=50, deadline=None)
def test_counts_agree_with_a_naive_count(texts: list[str]) -> None:
    bag = BagOfWords(BagOfWordsConfig(min_word_characters=1)).fit(texts)
    words = bag.vocabulary["word"].to_list()
    naive = [[text.split().count(word) for word in words] for text in texts]
    np.testing.assert_array_equal(bag.encode(texts), np.asarray(naive, dtype=np.float32).reshape(len(texts), -1))
