import polars as pl

from genre_pipeline.generation.vocabulary import VocabularyConfig, learn_vocabulary
from tests.generation import films


def catalogue(titles: list[str], categories: list[list[str]] | None = None) -> pl.DataFrame:
    names = categories or [[] for _title in titles]
    return pl.DataFrame(
        {"item_id": [f"{place:02d}" for place in range(len(titles))], "title": titles, "categories": names},
        schema_overrides={"categories": pl.List(pl.String)},
    )


def test_categories_and_tags_the_most_frequent_first() -> None:
    tagged = films.items().with_columns(tags=pl.Series([["crew"], ["crew"], ["crew"], ["crew"], [], [], [], []]))
    found = learn_vocabulary(tagged, VocabularyConfig(min_items=2, enough_categories=0))
    assert found.interests == ("crew", "romance", "space", "drama", "kitchen")
    assert found.carried.filter(pl.col("item_id") == "f1")["interest"].to_list() == ["crew", "space"]


def test_one_item_alone_brings_no_word_in() -> None:
    hostile = catalogue(["a", "b", "c"], [["Buy this now"], ["Drama"], ["drama "]])
    assert learn_vocabulary(hostile, VocabularyConfig(min_items=2)).interests == ("drama",)


def test_a_catalogue_without_categories_is_known_by_words_of_its_titles() -> None:
    titles = ["Nail polish, red", "Nail polish, blue", "Hair brush with care", "Hair spray with care", "Soap", "Comb"]
    found = learn_vocabulary(catalogue(titles), VocabularyConfig(min_items=2, max_item_share=0.5))
    assert found.interests == ("care", "hair", "nail", "polish")


def test_what_is_markup_a_link_or_a_list_is_no_interest() -> None:
    bad = ["<b>drama</b>", "http://x.y", "a,b", "w" * 60, "{x}", ""]
    assert learn_vocabulary(catalogue(["a", "b"], [bad, bad]), VocabularyConfig(min_items=1)).interests == ()


def test_the_size_is_kept_and_ties_go_by_name() -> None:
    found = learn_vocabulary(films.items(), VocabularyConfig(min_items=1, size=3))
    assert found.interests == ("romance", "space", "drama")
