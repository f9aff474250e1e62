"""Text as people wrote it."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genre_pipeline.preprocessing.text import normalise_text


def normalised(*texts: str | None) -> list[str | None]:
    frame = pl.DataFrame({"text": texts}, schema={"text": pl.String})
    return frame.select(normalise_text(pl.col("text"))).to_series().to_list()


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("<b>Nebula</b> &amp; <i>dust</i>  ", "Nebula & dust"),
        ("Cre\u0300me\u200b bru\u0302le\u0301e \u202efor two", "Crème brûlée for two"),
        ("a\x00b\x85c\u00a0d\te\u3000f\r\ng", "ab c d e f g"),
        ("a < b and c > d, 3<4", "a < b and c > d, 3<4"),
        ("R&D at AT&T, ?a=1&copy=2", "R&D at AT&T, ?a=1&copy=2"),
        ("it&#8217;s &#x201c;so&#x201d; &euro;5 &unknown;", "it’s “so” €5 &unknown;"),
        ("&amp;lt;b&amp;gt;twice escaped", "twice escaped"),
        ("<script>alert(1)</script>kept<!-- not -->", "kept"),
        ("<STYLE>p {}</STYLE> <br/>x", "x"),
        ("tag\U000e0041characters\ufeff", "tagcharacters"),
        ("  ", None),
        ("<p></p>", None),
        ("", None),
        (None, None),
    ],
)
def test_one_form_for_equal_texts(raw: str | None, clean: str | None) -> None:
    assert normalised(raw) == [clean]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.text(alphabet=st.sampled_from("<>&;#/!-abLTltgmp \u0301\u0338\u037e\u200b\u202e\x00\x85\n\u00e9scrip0123x")),
        min_size=1,
        max_size=20,
    )
)
def test_normalising_twice_changes_nothing(texts: list[str]) -> None:
    once = normalised(*texts)
    assert normalised(*once) == once
