"""One tiny awkward world, shared by the tests: 30 users, 24 items, ten days that end on 2024-03-10.

Built by pure functions, the same bytes at every call. It has structure that can be learnt: three tastes, three
categories of eight items, and within a category the item after `j` tends to be `j + 3`. And it has what real data has:
ids with leading zeros, markup and other scripts in titles, equal timestamps, exact duplicates, rows that break a rule,
a cold item, an unavailable item, an item without any text, a cold user, a user with a single event, pictures and sounds
that are broken, missing or silent. Rows are in the
order of users, not of time. Raw columns are text, as a csv file would give them.
"""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl

FIRST_DAY = date(2024, 3, 1)
LAST_DAY = date(2024, 3, 10)
DAYS = tuple(FIRST_DAY + timedelta(days=offset) for offset in range(10))
DAY_KEYS = tuple(day.isoformat() for day in DAYS)
AS_OF = datetime(2024, 3, 11, tzinfo=UTC)
"""The exclusive end of what is known when the night of LAST_DAY is computed."""

N_USERS = 30
N_ITEMS = 24
CATEGORIES = ("space", "kitchen", "romance")
USER_IDS = tuple(f"{number:03d}" for number in range(1, N_USERS + 1))
ITEM_IDS = tuple(f"i{number:02d}" for number in range(1, N_ITEMS + 1))

LEADING_ZERO_USER = "007"
SINGLE_EVENT_USER = "028"
EQUAL_TIMES_USER = "029"
"""All four events at one instant: the order of the source is the only order there is."""
EQUAL_TIMES_ITEMS = ("i09", "i02", "i17", "i05")
COLD_USER = "030"
"""In the users' table, without any interaction."""

HTML_ITEM = "i03"
"""Its title carries markup and entities."""
UNICODE_ITEM = "i10"
"""Its title is decomposed (NFD), with a zero-width and a bidi character."""
TEXTLESS_ITEM = "i22"
"""No title, no description, no categories: a picture alone; has interactions."""
UNAVAILABLE_ITEM = "i23"
"""Has interactions, may not be recommended."""
COLD_ITEM = "i24"
"""Nobody has had it yet; published on the last day, with text, a category and a picture."""
UNLISTED_ITEM = "i99"
"""Has an interaction but no row in the items' table."""
BROKEN_IMAGE_ITEM = "i02"
"""Its picture is a file of words."""
MISSING_IMAGE_ITEM = "i04"
"""Its picture is named, and not there."""
BROKEN_AUDIO_ITEM = "i14"
"""Its sound is cut off within the header."""
SILENT_ITEM = "i19"
"""Its sound can be read, and says nothing."""

N_DUPLICATE_INTERACTIONS = 3
BAD_INTERACTIONS = {
    "timestamp_is_parsable": {
        "user_id": "004", "item_id": "i01", "timestamp": "yesterday", "event": "view", "value": None,
    },
    "user_id|min_length": {
        "user_id": "", "item_id": "i02", "timestamp": "2024-03-04T12:00:00Z", "event": "view", "value": None,
    },
    "timestamp_in_range": {
        "user_id": "005", "item_id": "i03", "timestamp": "2999-12-31T00:00:00Z", "event": "view", "value": None,
    },
    "value_is_a_number": {
        "user_id": "006", "item_id": "i04", "timestamp": "2024-03-06T12:00:00Z", "event": "rating", "value": "many",
    },
}  # fmt: skip
"""The rule each bad row breaks, and the row."""
BAD_ITEMS = {
    "price|min": {"item_id": "i90", "title": "Owes you money", "price": "-5"},
}
"""The rule each bad item breaks, and what its row says."""

_MORE_IMAGES = (BROKEN_IMAGE_ITEM, MISSING_IMAGE_ITEM, TEXTLESS_ITEM, COLD_ITEM)
_EVENTS = ("view", "view", "like", "view", "purchase")
_SPACE = ("Comet", "Orbit", "Nebula", "Rocket", "Lander", "Station", "Signal", "Eclipse")
_KITCHEN = ("Bread", "Crème brûlée", "Noodles", "Saffron", "Dumplings", "Olives", "Cocoa", "Pepper")
_ROMANCE = ("Letters", "Promenade", "Waltz", "Summer", "Lanterns", "Harbour", "Violets", "Midnight")


def raw_interactions() -> pl.DataFrame:
    """user_id, item_id, timestamp, event, value, all String: good rows, duplicates and bad rows together."""
    good = clean_interaction_rows()
    rows = [*good, *good[:N_DUPLICATE_INTERACTIONS], *BAD_INTERACTIONS.values()]
    return pl.DataFrame(rows, schema=dict.fromkeys(("user_id", "item_id", "timestamp", "event", "value"), pl.String))


def clean_interaction_rows() -> list[dict[str, str | None]]:
    """The rows of `raw_interactions` that keep every rule, once each, in the order of users."""
    rows = [row for position in range(N_USERS - 3) for row in _rows_of_user(position)]
    rows.append(_row(SINGLE_EVENT_USER, UNLISTED_ITEM, datetime(2024, 3, 7, 9, tzinfo=UTC), "view"))
    instant = datetime(2024, 3, 9, 18, 30, tzinfo=UTC)
    return rows + [_row(EQUAL_TIMES_USER, item_id, instant, "like") for item_id in EQUAL_TIMES_ITEMS]


def raw_items() -> pl.DataFrame:
    """item_id, title, description, categories (`a|b`), image, audio, available, published_at, price, colour: String."""
    rows = [_item_row(position) for position in range(N_ITEMS)]
    blank = dict.fromkeys(rows[0], None)
    return pl.DataFrame(
        [*rows, *({**blank, **row} for row in BAD_ITEMS.values())], schema=dict.fromkeys(rows[0], pl.String)
    )


def raw_users() -> pl.DataFrame:
    """user_id, country: String; every user, the cold one too."""
    countries = ("de", "fr", "jp")
    return pl.DataFrame(
        {"user_id": USER_IDS, "country": [countries[position % 3] for position in range(N_USERS)]},
        schema={"user_id": pl.String, "country": pl.String},
    )


def write_standard_folder(path: Path, *, form: str = "parquet") -> Path:
    """Write the world as a standard folder (parquet or csv), with the small pictures and sounds its items name."""
    path.mkdir(parents=True, exist_ok=True)
    for name, frame in {"interactions": raw_interactions(), "items": raw_items(), "users": raw_users()}.items():
        if form == "parquet":
            frame.write_parquet(path / f"{name}.parquet")
        else:
            frame.write_csv(path / f"{name}.csv")
    _write_media(path)
    return path


def _rows_of_user(position: int) -> list[dict[str, str | None]]:
    taste, n_events = position % 3, 5 + position * 5 % 9
    rows = []
    for step in range(n_events):
        category = taste if step % 4 != 3 else (taste + 1) % 3
        item = category * 8 + (position + step * 3) % 8
        item_id = ITEM_IDS[item] if ITEM_IDS[item] != COLD_ITEM else ITEM_IDS[category * 8]
        day = FIRST_DAY + timedelta(days=step * 10 // n_events)
        time = datetime(day.year, day.month, day.day, 8 + position % 12, step, tzinfo=UTC)
        rows.append(_row(USER_IDS[position], item_id, time, _EVENTS[(position + step) % 5]))
    return rows


def _row(user_id: str, item_id: str, time: datetime, event: str) -> dict[str, str | None]:
    value = "1.5" if event == "purchase" else None
    return {
        "user_id": user_id, "item_id": item_id, "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "event": event, "value": value,
    }  # fmt: skip


def _item_row(position: int) -> dict[str, str | None]:
    item_id, category = ITEM_IDS[position], CATEGORIES[position // 8]
    word = (*_SPACE, *_KITCHEN, *_ROMANCE)[position]
    is_textless = item_id == TEXTLESS_ITEM
    title = {
        HTML_ITEM: f"<b>{word}</b> &amp; <i>dust</i>  ",
        UNICODE_ITEM: "Cre\u0300me\u200b bru\u0302le\u0301e \u202efor two",
        TEXTLESS_ITEM: "",
    }.get(item_id, f"{word} of the {category}")
    return {
        "item_id": item_id,
        "title": title,
        "description": None if is_textless or position % 4 == 3 else f"A {category} story about {word.lower()}.",
        "categories": None if is_textless else category + ("|family" if position % 5 == 0 else ""),
        "image": f"images/{item_id}.png" if position % 2 == 0 or item_id in _MORE_IMAGES else None,
        "audio": f"sounds/{item_id}.wav" if position % 6 == 0 or item_id == BROKEN_AUDIO_ITEM else None,
        "available": "false" if item_id == UNAVAILABLE_ITEM else "true",
        "published_at": "2024-03-10T00:00:00Z" if item_id == COLD_ITEM else "2024-01-15",
        "price": None if position % 7 == 0 else f"{4 + position}.50",
        "colour": ("red", "green", "blue")[position % 3],
    }


def _write_media(path: Path) -> None:
    import numpy as np
    import soundfile
    from PIL import Image

    (path / "images").mkdir(exist_ok=True)
    (path / "sounds").mkdir(exist_ok=True)
    colours = {"red": (200, 40, 40), "green": (40, 160, 60), "blue": (40, 70, 200)}
    for row in raw_items().iter_rows(named=True):
        if row["image"]:
            Image.new("RGB", (16, 24), colours[row["colour"]]).save(path / row["image"])
        if row["audio"]:
            pitch = 220.0 * (1 + int(row["item_id"][1:]) / 24)
            wave = 0.3 * np.sin(2 * np.pi * pitch * np.arange(1600) / 8000) * (row["item_id"] != SILENT_ITEM)
            soundfile.write(path / row["audio"], wave.astype("float32"), 8000)
    (path / "images" / f"{BROKEN_IMAGE_ITEM}.png").write_text("A picture of a comet.")
    (path / "images" / f"{MISSING_IMAGE_ITEM}.png").unlink()
    broken = path / "sounds" / f"{BROKEN_AUDIO_ITEM}.wav"
    broken.write_bytes(broken.read_bytes()[:20])
