"""Make the school's data: `python examples/school/generate.py [FOLDER]`, by default `.genre/school/source`.

The recipe, of one seed: 6 subjects of 8 courses, each requiring the one before; `statistics-05` also requires
`programming-03`. Every student works through one subject: each course goes from 0.3 to 1.0, the latest may stand at
0.6. They look into others too, to a tenth of a first course, and leave: most into `photography`, with which nobody goes
on. So the first course of photography is what the school begins most, and what it learns least.
"""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

SUBJECTS = {
    "programming": "code functions tests", "statistics": "samples regression chance", "drawing": "line shade figure",
    "cooking": "knife sauce oven", "spanish": "verbs travel talk", "photography": "lens light portrait",
}  # fmt: skip
LEVELS, FASHION = 8, "photography"
START, DAYS, STUDENTS, SEED = datetime(2025, 3, 1, tzinfo=UTC), 14, 300, 20


def course(subject: str, level: int) -> str:
    return f"{subject}-{level:02d}"


def courses() -> pl.DataFrame:
    rows = []
    for subject, words in SUBJECTS.items():
        for level in range(1, LEVELS + 1):
            requires = [course(subject, level - 1)] if level > 1 else []
            requires += ["programming-03"] if (subject, level) == ("statistics", 5) else []
            rows.append(
                {
                    "item_id": course(subject, level),
                    "title": f"{subject.title()} {level}",
                    "description": f"Part {level} of {subject}: {words}.",
                    "categories": subject,
                    "requires": "|".join(requires),
                }
            )
    return pl.DataFrame(rows)


def students(chance: np.random.Generator) -> pl.DataFrame:
    learns = chance.choice([subject for subject in SUBJECTS if subject != FASHION], STUDENTS)
    return pl.DataFrame({"user_id": [f"s{number:03d}" for number in range(STUDENTS)], "learns": learns})


def events(people: pl.DataFrame, chance: np.random.Generator) -> pl.DataFrame:
    rows = []
    for user, learns in people.rows():
        done = int(chance.integers(1, 5 if learns == "statistics" else LEVELS))
        times = np.sort(chance.uniform(0, DAYS * 24, 2 * done + 1))
        for level in range(1, done + 1):
            rows += [(user, course(learns, level), times[2 * level - 2], 0.3)]
            rows += [(user, course(learns, level), times[2 * level - 1], 1.0)]
        if chance.random() < 0.3 and done + 1 < LEVELS and (learns, done) != ("statistics", 4):
            rows.append((user, course(learns, done + 1), times[-1], 0.6))
        others = [FASHION] * (chance.random() < 0.8) + list(chance.choice(list(SUBJECTS), 1))
        rows += [
            (user, course(str(other), 1), float(chance.uniform(0, DAYS * 24)), 0.1)
            for other in others
            if other != learns
        ]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "hours", "value"], orient="row")
    time = pl.lit(START) + pl.duration(seconds=(pl.col("hours") * 3600).cast(pl.Int64))
    return frame.select("user_id", "item_id", time.alias("timestamp"), pl.lit("progress").alias("event"), "value").sort(
        "timestamp"
    )


def main(folder: Path) -> None:
    chance = np.random.default_rng(SEED)
    folder.mkdir(parents=True, exist_ok=True)
    people = students(chance)
    made = {"items": courses(), "users": people, "interactions": events(people, chance)}
    for name, frame in made.items():
        frame.write_parquet(folder / f"{name}.parquet")
    last = START + timedelta(days=DAYS - 1)
    print(
        f"{folder}: " + ", ".join(f"{frame.height:,} {name}" for name, frame in made.items()), f"until {last:%Y-%m-%d}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".genre/school/source"))
