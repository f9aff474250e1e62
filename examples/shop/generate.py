"""Make the shop's data: `python examples/shop/generate.py [FOLDER]`, by default `.genre/shop/source`.

The recipe, of one seed: 8 departments of 20 products, and 12 sellers. Every customer likes two departments: what they
view is theirs four times in five, what they buy always. One seller, `megadeals`, has 24 products and is pushed in
everybody's way: ten views a customer, and nobody buys. Every tenth product is sold out, the best one of each department
among them. A voucher is sold beside the departments, and a heater that was recalled. Each product has a picture of
32 × 32 pixels.
"""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

DEPARTMENTS = {
    "lighting": "lamp", "kitchen": "pan", "garden": "shovel", "bicycles": "saddle",
    "camping": "tent", "music": "guitar", "painting": "brush", "running": "shoe",
}  # fmt: skip
LOOKS = ("oak", "steel", "blue", "foldable", "light", "vintage", "large", "mini", "matt", "classic")
SPAMMER, VOUCHER, RECALLED = "megadeals", "voucher", "heater-9"
START, DAYS, CUSTOMERS, A_DEPARTMENT, SEED = datetime(2025, 3, 1, tzinfo=UTC), 14, 300, 20, 20


def products(chance: np.random.Generator) -> pl.DataFrame:
    rows = []
    for number, (department, thing) in enumerate(DEPARTMENTS.items()):
        for place in range(A_DEPARTMENT):
            seller = SPAMMER if place >= A_DEPARTMENT - 3 else f"seller-{(number + place) % 11:02d}"
            rows.append(
                {
                    "item_id": f"{department}-{place:02d}",
                    "title": f"{LOOKS[place % 10].title()} {thing} no. {place + 1}",
                    "description": f"A {LOOKS[place % 10]} {thing} for {department}.",
                    "categories": department,
                    "seller": seller,
                    "available": place % 10 != 0,
                    "price": round(float(chance.uniform(5, 320)), 2),
                }
            )
    extra = {"description": "Sold all year.", "categories": "", "seller": "house", "available": True}
    rows.append({"item_id": VOUCHER, "title": "Voucher", "price": 25.0, **extra})
    rows.append({"item_id": RECALLED, "title": "Fan heater", "price": 39.0, **extra})
    return pl.DataFrame(rows).with_columns(image=pl.format("pictures/{}.png", "item_id"))


def customers(chance: np.random.Generator) -> pl.DataFrame:
    likes = [sorted(chance.choice(list(DEPARTMENTS), 2, replace=False)) for _ in range(CUSTOMERS)]
    ids = [f"c{number:03d}" for number in range(CUSTOMERS)]
    return pl.DataFrame({"user_id": ids, "likes": ["|".join(pair) for pair in likes]})


def events(buyers: pl.DataFrame, goods: pl.DataFrame, chance: np.random.Generator) -> pl.DataFrame:
    spam = goods.filter(seller=SPAMMER)["item_id"].to_list()
    # The first of a department is taken most.
    wanted = 1 / np.arange(1, A_DEPARTMENT - 2)
    rows = []
    for user, likes in buyers.rows():
        for _ in range(14):
            own = chance.random() < 0.8
            department = str(chance.choice(likes.split("|") if own else list(DEPARTMENTS)))
            item = f"{department}-{chance.choice(A_DEPARTMENT - 3, p=wanted / wanted.sum()):02d}"
            at = float(chance.uniform(0, DAYS * 24 - 1))
            rows.append((user, item, at, "view"))
            if own and chance.random() < 0.4:
                rows.append((user, item, at + 0.3, "purchase"))
        rows += [(user, str(chance.choice(spam)), float(chance.uniform(0, DAYS * 24)), "view") for _ in range(10)]
        if chance.random() < 0.2:
            rows.append((user, str(chance.choice([VOUCHER, RECALLED])), float(chance.uniform(0, 24)), "purchase"))
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "hours", "event"], orient="row")
    time = pl.lit(START) + pl.duration(seconds=(pl.col("hours") * 3600).cast(pl.Int64))
    return frame.select("user_id", "item_id", time.alias("timestamp"), "event").sort("timestamp")


def draw(goods: pl.DataFrame, folder: Path) -> None:
    from PIL import Image, ImageDraw

    folder.mkdir(exist_ok=True)
    colours = dict(zip(DEPARTMENTS, range(0, 256, 32), strict=True))
    for number, (item, department, image) in enumerate(goods.select("item_id", "categories", "image").rows()):
        hue = colours.get(department, 0)
        picture = Image.new("HSV", (32, 32), (hue, 60, 230))
        box = (4 + number % 6, 4, 28, 28 - number % 9)
        pen = ImageDraw.Draw(picture)
        (pen.ellipse if hue % 64 else pen.rectangle)(box, fill=(hue, 200, 90 + 10 * (number % 12)))
        picture.convert("RGB").save(folder / Path(image).name)
        assert image.endswith(f"{item}.png")


def main(folder: Path) -> None:
    chance = np.random.default_rng(SEED)
    folder.mkdir(parents=True, exist_ok=True)
    goods, buyers = products(chance), customers(chance)
    made = {"items": goods, "users": buyers, "interactions": events(buyers, goods, chance)}
    for name, frame in made.items():
        frame.write_parquet(folder / f"{name}.parquet")
    draw(goods, folder / "pictures")
    last = START + timedelta(days=DAYS - 1)
    print(
        f"{folder}: " + ", ".join(f"{frame.height:,} {name}" for name, frame in made.items()), f"until {last:%Y-%m-%d}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".genre/shop/source"))
