"""A small catalogue and its users, for the tests of schemes: eight films, four users."""

from datetime import UTC, datetime, timedelta

import polars as pl

from genre_pipeline.generation.profiles import told_histories
from genre_pipeline.generation.settings import GenerationConfig
from genre_pipeline.generation.vocabulary import VocabularyConfig, learn_vocabulary

AS_OF = datetime(2024, 1, 1, tzinfo=UTC)
CREW = "A crew repairs a station while a comet approaches."
TITLES = (
    ("f1", "Comet Station (1994)", f"{CREW} Nobody sleeps.", ["Space", "Action"]),
    ("f2", "Orbit of Glass (1999)", "Two pilots are lost in orbit and find each other.", ["Space", "Romance"]),
    ("f3", "The Last Lander (2001)", "The last lander carries seeds to another planet.", ["Space"]),
    ("f4", "Noodles at Midnight (1996)", "A cook opens a noodle bar that never closes.", ["Kitchen", "Comedy"]),
    ("f5", "Saffron (1988)", "A family of cooks quarrels over a recipe.", ["Kitchen", "Drama"]),
    ("f6", "Letters from the Harbour (1990)", "A sailor writes letters to a stranger.", ["Romance", "Drama"]),
    ("f7", "Waltz (1985)", None, ["Romance"]),
    ("f8", None, None, []),
)  # fmt: skip
TAKEN = (
    ("u1", ("f4", "f1", "f2", "f3")),
    ("u2", ("f5", "f4")),
    ("u3", ("f7",)),
    ("u4", ("f8",)),
)
CONFIG = GenerationConfig(vocabulary=VocabularyConfig(min_items=1))


def items() -> pl.DataFrame:
    schema = {
        "item_id": pl.String,
        "title": pl.String,
        "description": pl.String,
        "categories": pl.List(pl.String),
    }
    return pl.DataFrame(TITLES, schema=schema, orient="row")


def interactions() -> pl.DataFrame:
    """Each user's items, a day apart, the newest the day before `AS_OF`."""
    rows = [
        (user, item, AS_OF - timedelta(days=len(taken) - place))
        for user, taken in TAKEN
        for place, item in enumerate(taken)
    ]
    schema = {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Datetime("us", "UTC")}
    return pl.DataFrame(rows, schema=schema, orient="row")


def histories(catalogue: pl.DataFrame | None = None, newest: int = 20) -> pl.DataFrame:
    """What is told of the users, of the whole past."""
    known = items() if catalogue is None else catalogue
    vocabulary = learn_vocabulary(known, CONFIG.vocabulary)
    return told_histories(interactions(), known, vocabulary, newest=newest)
