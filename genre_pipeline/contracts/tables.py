"""Table contracts: what a clean row is. Each rule's name is the reason written beside a row that breaks it.

Frames in, frames out: a module that hands a table to another hands it in one of these schemas. `validate` proves a
frame that we made; `filter` splits a frame that somebody gave us into good rows and rejected rows with reasons.
"""

import dataframely as dy
import polars as pl

TIME = pl.Datetime("us", "UTC")
MAX_ID_BYTES = 512
EARLIEST_YEAR, LATEST_YEAR = 1970, 2100


class Interactions(dy.Schema):
    """What a user did with an item, and when. Sorted by timestamp; equal timestamps keep their order in the source."""

    user_id = dy.String(nullable=False, min_length=1)
    item_id = dy.String(nullable=False, min_length=1)
    timestamp = dy.Datetime(nullable=False, time_unit="us", time_zone="UTC")
    event = dy.String(nullable=False, min_length=1)
    value = dy.Float64(nullable=True)

    @dy.rule()
    def user_id_is_short(cls) -> pl.Expr:
        """An id over 512 bytes is a payload, not an id."""
        return pl.col("user_id").str.len_bytes() <= MAX_ID_BYTES

    @dy.rule()
    def item_id_is_short(cls) -> pl.Expr:
        """An id over 512 bytes is a payload, not an id."""
        return pl.col("item_id").str.len_bytes() <= MAX_ID_BYTES

    @dy.rule()
    def timestamp_in_range(cls) -> pl.Expr:
        """A year outside 1970 to 2100 is a unit error or a default value."""
        return pl.col("timestamp").dt.year().is_between(EARLIEST_YEAR, LATEST_YEAR)


EVENT_LOG_SCHEMA = pl.Schema(
    {
        "event_id": pl.String(),
        "user_id": pl.String(),
        "item_id": pl.String(),
        "timestamp": TIME,
        "event": pl.String(),
        "value": pl.Float64(),
    }
)
"""Columns of what a user did, as it is logged: an interaction with an id of its own."""

SHOWN_SCHEMA = pl.Schema({"run_id": pl.String(), "variant": pl.String(), "rank": pl.Int64()})
"""Columns that say where an item was shown: the answer's `run_id` and `variant`, the item's `rank` in it. An impression
has all three, other events none or some."""
LOGGED_SCHEMA = pl.Schema({**EVENT_LOG_SCHEMA, **SHOWN_SCHEMA})
"""Columns of the event log."""


class Items(dy.Schema):
    """The catalogue, one row an item. Other columns a source carries are kept beside these."""

    item_id = dy.String(nullable=False, min_length=1, primary_key=True)
    title = dy.String(nullable=True)
    description = dy.String(nullable=True)
    categories = dy.List(dy.String(nullable=False), nullable=False)
    image = dy.String(nullable=True)
    audio = dy.String(nullable=True)
    available = dy.Bool(nullable=False)
    published_at = dy.Datetime(nullable=True, time_unit="us", time_zone="UTC")
    price = dy.Float64(nullable=True, min=0)

    @dy.rule()
    def item_id_is_short(cls) -> pl.Expr:
        """An id over 512 bytes is a payload, not an id."""
        return pl.col("item_id").str.len_bytes() <= MAX_ID_BYTES


class Users(dy.Schema):
    """Known users, one row each. Attributes a source carries are kept beside the id."""

    user_id = dy.String(nullable=False, min_length=1, primary_key=True)

    @dy.rule()
    def user_id_is_short(cls) -> pl.Expr:
        """An id over 512 bytes is a payload, not an id."""
        return pl.col("user_id").str.len_bytes() <= MAX_ID_BYTES


class RejectedRows(dy.Schema):
    """A row that broke a rule: nothing is lost, and each row says why. `raw` is the row as JSON."""

    table = dy.String(nullable=False)
    rule = dy.String(nullable=False)
    raw = dy.String(nullable=False)
    day = dy.Date(nullable=True)


class ItemTexts(dy.Schema):
    """The text a model reads of an item, composed by configuration. `text` is null where an item has none."""

    item_id = dy.String(nullable=False, primary_key=True)
    text = dy.String(nullable=True)
    content_hash = dy.String(nullable=False)


class ItemVectors(dy.Schema):
    """One technique's vectors. `vector` is null where the modality is missing: masked, never invented."""

    item_id = dy.String(nullable=False, primary_key=True)
    model = dy.String(nullable=False)
    content_hash = dy.String(nullable=False)
    vector = dy.List(dy.Float32(nullable=False), nullable=True)


class Recommendations(dy.Schema):
    """Ranked lists in long form. `rank` starts at 1; ties in `score` go to the smaller `item_id`."""

    user_id = dy.String(nullable=False, primary_key=True)
    item_id = dy.String(nullable=False)
    rank = dy.UInt32(nullable=False, primary_key=True, min=1)
    score = dy.Float32(nullable=False, allow_nan=False, allow_inf=False)


class SimilarItems(dy.Schema):
    """Nearest items of each item, by cosine similarity of their vectors."""

    item_id = dy.String(nullable=False, primary_key=True)
    similar_item_id = dy.String(nullable=False)
    rank = dy.UInt32(nullable=False, primary_key=True, min=1)
    score = dy.Float32(nullable=False, allow_nan=False, allow_inf=False)


class PopularItems(dy.Schema):
    """The most popular items, overall (`category` is empty) and in each category."""

    category = dy.String(nullable=False, primary_key=True)
    item_id = dy.String(nullable=False)
    rank = dy.UInt32(nullable=False, primary_key=True, min=1)
    score = dy.Float32(nullable=False, allow_nan=False, allow_inf=False)


GENERATED_BY = ("model", "repaired", "fallback")
"""Where a generated value comes from: the model's first reply, its second, or a deterministic rule."""


class _Generated(dy.Schema):
    """What every generated row says of itself."""

    source = dy.String(nullable=False, check=lambda source: source.is_in(GENERATED_BY))
    reason = dy.String(nullable=False)
    prompt_version = dy.String(nullable=False)


class ItemSummaries(_Generated):
    """One neutral line and tags an item. `reason` says why a row fell back; it is empty where it did not."""

    item_id = dy.String(nullable=False, primary_key=True)
    summary = dy.String(nullable=False)
    tags = dy.List(dy.String(nullable=False), nullable=False)


class UserProfiles(_Generated):
    """Interests of a user, their weights (which sum to 1), a sentence, and the items that all this was made of."""

    user_id = dy.String(nullable=False, primary_key=True)
    event_timestamp = dy.Datetime(nullable=False, time_unit="us", time_zone="UTC")
    interests = dy.List(dy.String(nullable=False), nullable=False, min_length=1)
    weights = dy.List(dy.Float32(nullable=False), nullable=False, min_length=1)
    profile = dy.String(nullable=False, min_length=1)
    source_item_ids = dy.List(dy.String(nullable=False), nullable=False, min_length=1)

    @dy.rule()
    def every_interest_has_a_weight(cls) -> pl.Expr:
        """Interests and weights are one list in two columns."""
        return pl.col("interests").list.len() == pl.col("weights").list.len()


class SyntheticItems(_Generated):
    """Items invented for a user, in order of `place`. `item_id` is the nearest real one; null where none is near."""

    user_id = dy.String(nullable=False, primary_key=True)
    place = dy.UInt32(nullable=False, primary_key=True, min=1)
    title = dy.String(nullable=False)
    description = dy.String(nullable=False)
    category = dy.String(nullable=False)
    item_id = dy.String(nullable=True)
    similarity = dy.Float32(nullable=False, allow_nan=False, allow_inf=False)


class OnlineMetrics(dy.Schema):
    """What the lists of one variant, shown on one UTC day, were worth to those who saw them.

    `ctr` is clicked impressions over impressions with its interval, `coverage` distinct items shown over the catalogue,
    `novelty` mean bits of an impression. `is_final`: no click can still come, late arrivals aside.
    """

    day = dy.Date(nullable=False, primary_key=True)
    variant = dy.String(nullable=False, primary_key=True)
    impressions = dy.Int64(nullable=False, min=1)
    clicks = dy.Int64(nullable=False, min=0)
    users = dy.Int64(nullable=False, min=1)
    ctr = dy.Float64(nullable=False, min=0, max=1)
    low = dy.Float64(nullable=True, min=0, max=1)
    high = dy.Float64(nullable=True, min=0, max=1)
    coverage = dy.Float64(nullable=False, min=0, max=1)
    novelty = dy.Float64(nullable=False, min=0, allow_nan=False, allow_inf=False)
    is_final = dy.Bool(nullable=False)

    @dy.rule()
    def an_impression_is_clicked_once(cls) -> pl.Expr:
        """More clicks than impressions means that something was counted twice."""
        return pl.col("clicks") <= pl.col("impressions")
