"""What every text extractor must keep. A technique's test inherits `ExtractorContract` and gives an `extractor`."""

import numpy as np
import polars as pl
import pytest

from genre_pipeline.features.extractor import TextExtractor

CORPUS = [
    "Comet of the space. space. A space story about comet.",
    "Bread of the kitchen. kitchen, family",
    "Crème brûlée für zwei 東京 🚀",
    "Comet bread",
    "a",
    "Letters of the romance. romance. A romance story about letters. " * 8,
]


class ExtractorContract:
    """Subclasses give the fixture `extractor`, unfitted where the technique is one that fits."""

    @pytest.fixture
    def extractor(self) -> TextExtractor:
        raise NotImplementedError

    @pytest.fixture
    def fitted(self, extractor: TextExtractor) -> TextExtractor:
        return extractor.fit(CORPUS)

    def test_a_float32_row_for_each_text(self, fitted: TextExtractor) -> None:
        vectors = fitted.encode(CORPUS)
        assert vectors.dtype == np.float32
        assert vectors.ndim == 2
        assert len(vectors) == len(CORPUS)
        assert np.isfinite(vectors).all()
        assert vectors[:4].any(axis=1).all()

    def test_fit_gives_the_extractor_itself(self, extractor: TextExtractor) -> None:
        assert extractor.fit(CORPUS) is extractor

    def test_the_same_texts_give_the_same_bits(self, fitted: TextExtractor) -> None:
        np.testing.assert_array_equal(fitted.encode(CORPUS), fitted.encode(CORPUS))

    def test_the_order_of_texts_changes_nothing(self, fitted: TextExtractor) -> None:
        np.testing.assert_array_equal(fitted.encode(CORPUS[::-1])[::-1], fitted.encode(CORPUS))

    def test_company_changes_a_vector_by_no_more_than_rounding(self, fitted: TextExtractor) -> None:
        alone = np.concatenate([fitted.encode([text]) for text in CORPUS])
        np.testing.assert_allclose(alone, fitted.encode(CORPUS), atol=2e-6)

    def test_equal_texts_have_equal_vectors_and_others_differ(self, fitted: TextExtractor) -> None:
        vectors = fitted.encode([CORPUS[0], CORPUS[1], CORPUS[0]])
        np.testing.assert_array_equal(vectors[0], vectors[2])
        assert not np.array_equal(vectors[0], vectors[1])

    def test_no_texts_give_no_rows_of_the_same_width(self, fitted: TextExtractor) -> None:
        vectors = fitted.encode([])
        assert vectors.dtype == np.float32
        assert vectors.shape == (0, fitted.encode(CORPUS).shape[1])

    @pytest.mark.parametrize("text", ["", " ", "\n\t", "\u200b", "!!!", "\u0301", "🚀", "x" * 5000, "東京物語", "\x00"])
    def test_odd_texts_are_finite(self, fitted: TextExtractor, text: str) -> None:
        vectors = fitted.encode([text, CORPUS[0]])
        assert np.isfinite(vectors).all()
        np.testing.assert_allclose(vectors[1], fitted.encode([CORPUS[0]])[0], atol=2e-6)

    def test_progress_ends_with_all_done(self, fitted: TextExtractor) -> None:
        seen: list[tuple[int, int]] = []
        fitted.encode(CORPUS, lambda done, total: seen.append((done, total)))
        assert seen == sorted(seen)
        assert seen[-1] == (len(CORPUS), len(CORPUS))

    def test_the_identity_is_stable_and_starts_with_the_name(self, fitted: TextExtractor) -> None:
        before = fitted.model
        fitted.encode(CORPUS)
        assert fitted.model == before
        assert before.startswith(f"{fitted.name}/")
        assert "/tmp" not in before

    def test_vectors_can_be_stored_in_a_frame(self, fitted: TextExtractor) -> None:
        vectors = fitted.encode(CORPUS)
        stored = pl.Series(vectors).arr.to_list()
        np.testing.assert_array_equal(stored.list.to_array(vectors.shape[1]).to_numpy(), vectors)


class FittedExtractorContract(ExtractorContract):
    """For techniques that learn from the corpus: their identity must tell one corpus from another."""

    def test_the_identity_depends_on_the_corpus(self, extractor: TextExtractor) -> None:
        one = extractor.fit(CORPUS).model
        other = extractor.fit([*CORPUS, "Comet"]).model
        assert one != other
        assert extractor.fit(CORPUS).model == one

    def test_the_order_of_the_corpus_does_not_matter(self, extractor: TextExtractor) -> None:
        assert extractor.fit(CORPUS).model == extractor.fit(CORPUS[::-1]).model

    def test_an_unfitted_extractor_says_so(self, extractor: TextExtractor) -> None:
        from genre_pipeline.contracts.errors import TrainingError

        with pytest.raises(TrainingError, match="has not been fitted"):
            extractor.encode(["comet"])
        with pytest.raises(TrainingError, match="has not been fitted"):
            _ = extractor.model

    def test_an_empty_corpus_knows_nothing(self, extractor: TextExtractor) -> None:
        vectors = extractor.fit([]).encode(["comet"])
        assert len(vectors) == 1
        assert np.isfinite(vectors).all()
