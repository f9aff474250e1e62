"""Make the feed's data: `python examples/feed/generate.py [FOLDER]`, by default `.genre/feed/source`.

The recipe, of one seed: 6 topics, 24 creators with a topic each, and 36 posts a day for two weeks. A post is worth half
every eight hours. Every user follows two topics: a post of theirs is looked at eight times as often as another, and
only such posts are liked. One creator, `shouter`, posts every seventh post, in any topic, and is pushed in everybody's
way. Every sixth post has a sound of a quarter of a second: a tone of its topic.
"""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

TOPICS = {
    "cats": "kitten naps", "football": "late goal", "baking": "sourdough crumb",
    "trains": "steam engine", "gaming": "boss fight", "travel": "hidden beach",
}  # fmt: skip
LOUD = "shouter"
START, DAYS, POSTS_A_DAY, USERS, SEED = datetime(2025, 3, 1, tzinfo=UTC), 14, 36, 300, 20


def posts(chance: np.random.Generator) -> pl.DataFrame:
    rows = []
    for number in range(DAYS * POSTS_A_DAY):
        topic = list(TOPICS)[number % len(TOPICS)]
        is_loud = number % 7 == 0
        hour = number // POSTS_A_DAY * 24 + chance.uniform(0, 20)
        rows.append(
            {
                "item_id": f"p{number:03d}",
                "title": f"{TOPICS[topic].title()}, part {number}"
                if not is_loud
                else f"You won't believe no. {number}",
                "description": f"A post about {topic}: {TOPICS[topic]}.",
                "categories": topic,
                "creator": LOUD if is_loud else f"{topic}-{chance.integers(4)}",
                "published_at": START + timedelta(hours=float(hour)),
                "audio": f"sounds/p{number:03d}.wav" if number % 6 == 0 else None,
            }
        )
    return pl.DataFrame(rows, schema_overrides={"audio": pl.String})


def readers(chance: np.random.Generator) -> pl.DataFrame:
    follows = ["|".join(sorted(chance.choice(list(TOPICS), 2, replace=False))) for _ in range(USERS)]
    return pl.DataFrame({"user_id": [f"r{number:03d}" for number in range(USERS)], "follows": follows})


def events(users: pl.DataFrame, catalogue: pl.DataFrame, chance: np.random.Generator) -> pl.DataFrame:
    born = (catalogue["published_at"] - START).dt.total_seconds().to_numpy() / 3600
    topic, loud = catalogue["categories"].to_numpy(), (catalogue["creator"] == LOUD).to_numpy()
    rows = []
    for user, follows in users.rows():
        own = np.isin(topic, follows.split("|"))
        for now in chance.uniform(6, DAYS * 24, 60):
            age = now - born
            worth = np.where(age > 0, 0.5 ** (np.maximum(age, 0) / 8), 0) + 1e-6 * (age > 0)
            worth *= np.where(loud, 3.0, np.where(own, 4.0, 0.5))
            post = int(chance.choice(len(born), p=worth / worth.sum()))
            rows.append((user, catalogue["item_id"][post], now, "view"))
            if own[post] and not loud[post] and chance.random() < 0.5:
                rows.append((user, catalogue["item_id"][post], now + 0.01, "like"))
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "hours", "event"], orient="row")
    time = pl.lit(START) + pl.duration(seconds=(pl.col("hours") * 3600).cast(pl.Int64))
    kept = frame.select("user_id", "item_id", time.alias("timestamp"), "event")
    return kept.filter(pl.col("timestamp") < START + timedelta(days=DAYS)).sort("timestamp")


def play(catalogue: pl.DataFrame, folder: Path) -> None:
    import soundfile

    folder.mkdir(exist_ok=True)
    beat = np.arange(2000) / 8000
    for post, topic in catalogue.drop_nulls("audio").select("item_id", "categories").rows():
        pitch = 220 * 2 ** (list(TOPICS).index(topic) / 3)
        wave = 0.4 * np.sin(2 * np.pi * pitch * beat) * np.exp(-6 * beat)
        soundfile.write(folder / f"{post}.wav", wave.astype("float32"), 8000)


def main(folder: Path) -> None:
    chance = np.random.default_rng(SEED)
    folder.mkdir(parents=True, exist_ok=True)
    catalogue, users = posts(chance), readers(chance)
    made = {"items": catalogue, "users": users, "interactions": events(users, catalogue, chance)}
    for name, frame in made.items():
        frame.write_parquet(folder / f"{name}.parquet")
    play(catalogue, folder / "sounds")
    last = START + timedelta(days=DAYS - 1)
    print(
        f"{folder}: " + ", ".join(f"{frame.height:,} {name}" for name, frame in made.items()), f"until {last:%Y-%m-%d}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".genre/feed/source"))
