"""MovieLens and data sets of its forms: GroupLens' own files, `ratings.csv`, `ratings.dat` (MovieTweetings), RecBole's.

Belongs here: these files' separators, encodings and names. Kept out: downloading them (`demo`). Timestamps and values
are left as text for preprocessing to read; rows keep the order of the file, which is what breaks ties in time.
"""

from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

import polars as pl

from genre_pipeline.contracts.errors import SourceError
from genre_pipeline.contracts.names import INTERACTIONS, ITEMS, USERS
from genre_pipeline.sources.raw_dataset import RawDataset, check_table, unreadable

RATING = "rating"
YEAR = "year"
_GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
"""The flags of `u.item`, in the order of `u.genre`."""
_NOT_A_GENRE = ("unknown", "(no genres listed)", "")
_ARTICLES = "The|A|An|Les|Las|Los|La|Le|L'|Il|Lo|Gli|El|Der|Die|Das|De|Det|Den|En|Ett|Un|Une|Una|O|Os|As"
_RATING_COLUMNS = {"user": "user_id", "item": "item_id", "rating": "value", "time": "timestamp"}
_Tables = dict[str, tuple[Path, pl.LazyFrame]]


def read_movielens(
    path: str | Path, *, name: str | None = None, columns: Mapping[str, Mapping[str, str]] | None = None
) -> RawDataset:
    """Read a folder in the form its files show: `u.data`, `ratings.csv`, `ratings.dat` or `*.inter`.

    interactions: user_id, item_id, timestamp, event (`rating`), value. items: item_id, title as people read it ("The
    Matrix (1999)"), categories List(String), year Int32, and published_at where the form knows the day. users: as the
    form has them. Raises SourceError: no such folder or form, missing column, no rows, unreadable file.
    """
    folder = Path(path)
    readers = {form: reader for form, reader in _FORMS.items() if any(folder.glob(form))}
    if len(readers) != 1:
        raise SourceError(
            f"{folder} holds {'several forms' if readers else 'no form'} of MovieLens that can be read",
            remedy=f"Give a folder with exactly one of {', '.join(_FORMS)}.",
            culprits=list(readers),
        )
    (read,) = readers.values()
    tables = {
        table: check_table(table, frame, origin=str(origin), columns=(columns or {}).get(table, {}))
        for table, (origin, frame) in read(folder).items()
    }
    return RawDataset(tables[INTERACTIONS], tables.get(ITEMS), tables.get(USERS), name or folder.name, root=str(folder))


def is_movielens(path: str | Path) -> bool:
    """Whether a folder holds one of the forms that `read_movielens` reads, and is not a standard folder."""
    folder = Path(path)
    return not any(folder.glob("interactions.*")) and any(any(folder.glob(form)) for form in _FORMS)


def tidy_title(title: pl.Expr) -> pl.Expr:
    """String to String: a catalogue's title as people read it. "Matrix, The" becomes "The Matrix"."""
    moved = title.str.strip_chars().str.replace(rf"^(.+?), ({_ARTICLES})( \(.*\))?$", "${2} ${1}${3}")
    inside = moved.str.replace_all(rf"\(([^()]+?), ({_ARTICLES})\)", "(${2} ${1})")
    return inside.str.replace_all(r"\bL' ", "L'")


def _grouplens(folder: Path) -> _Tables:
    ratings = _read_separated(folder / "u.data", "\t", list(_RATING_COLUMNS))
    tables: _Tables = {INTERACTIONS: (folder / "u.data", _ratings(ratings, _RATING_COLUMNS))}
    if (folder / "u.item").is_file():
        names = ["item_id", "title", "published_at", "video", "imdb_url", *_GENRES]
        films = _read_separated(folder / "u.item", "|", names)
        genres = pl.concat_str(
            [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in _GENRES], separator="|", ignore_nulls=True
        )
        published = pl.col("published_at").str.to_datetime("%d-%b-%Y", time_zone="UTC", strict=False)
        tables[ITEMS] = (folder / "u.item", _films(films.with_columns(published, genres=genres), "published_at"))
    if (folder / "u.user").is_file():
        names = ["user_id", "age", "gender", "occupation", "zip_code"]
        tables[USERS] = (folder / "u.user", _read_separated(folder / "u.user", "|", names))
    return tables


def _csv(folder: Path) -> _Tables:
    names = {"userId": "user_id", "movieId": "item_id", "rating": "value", "timestamp": "timestamp"}
    ratings = pl.scan_csv(folder / "ratings.csv", infer_schema=False)
    tables: _Tables = {INTERACTIONS: (folder / "ratings.csv", _ratings(ratings, names))}
    if (folder / "movies.csv").is_file():
        films = pl.scan_csv(folder / "movies.csv", infer_schema=False).rename({"movieId": "item_id"})
        tables[ITEMS] = (folder / "movies.csv", _films(films))
    return tables


def _dat(folder: Path) -> _Tables:
    ratings = _read_double_colon(folder / "ratings.dat", list(_RATING_COLUMNS))
    tables: _Tables = {INTERACTIONS: (folder / "ratings.dat", _ratings(ratings, _RATING_COLUMNS))}
    if (folder / "movies.dat").is_file():
        films = _read_double_colon(folder / "movies.dat", ["item_id", "title", "genres"])
        tables[ITEMS] = (folder / "movies.dat", _films(films))
    return tables


def _recbole(folder: Path) -> _Tables:
    (ratings_file, *others) = sorted(folder.glob("*.inter"))
    if others:
        raise SourceError(f"{folder} holds several .inter files", remedy="Leave one.", culprits=[ratings_file, *others])
    names = {"user_id": "user_id", "item_id": "item_id", "rating": "value", "timestamp": "timestamp"}
    tables: _Tables = {INTERACTIONS: (ratings_file, _ratings(_read_atomic(ratings_file), names))}
    films_file, users_file = ratings_file.with_suffix(".item"), ratings_file.with_suffix(".user")
    if films_file.is_file():
        films = _read_atomic(films_file)
        known = {"movie_title": "title", "class": "genres", "genre": "genres", "release_year": YEAR}
        films = films.rename(known, strict=False).with_columns(pl.col("genres").str.replace_all(" ", "|", literal=True))
        tables[ITEMS] = (films_file, _films(films))
    if users_file.is_file():
        tables[USERS] = (users_file, _read_atomic(users_file))
    return tables


def _ratings(frame: pl.LazyFrame, names: Mapping[str, str]) -> pl.LazyFrame:
    """user_id, item_id, timestamp, event, value; a column the file lacks is left to the check that names it."""
    known = [name for name in names if name in frame.collect_schema().names()]
    renamed = frame.select(pl.col(name).alias(names[name]) for name in known)
    order = [
        name for name in ("user_id", "item_id", "timestamp", "event", "value") if name in {*names.values(), "event"}
    ]
    present = {names[name] for name in known} | {"event"}
    return renamed.with_columns(event=pl.lit(RATING)).select(name for name in order if name in present)


def _films(films: pl.LazyFrame, *others: str) -> pl.LazyFrame:
    """item_id, title, categories, year and `others`. A year stands behind the title, or in a column of its own."""
    written = pl.col("title").str.extract(r"\(([0-9]{4})\)\s*$")
    has_year = YEAR in films.collect_schema().names()
    year = pl.col(YEAR).str.extract(r"([0-9]{4})") if has_year else written
    bare = tidy_title(pl.col("title").str.replace(r"\s*\([0-9]{4}\)\s*$", ""))
    titled = pl.concat_str(bare, pl.when(year.is_not_null()).then(pl.format(" ({})", year)).otherwise(pl.lit("")))
    names = pl.col("genres").str.split("|")
    genres = names.list.eval(pl.element().filter(~pl.element().is_in(_NOT_A_GENRE)))
    return films.select(
        "item_id", titled.alias("title"), genres.alias("categories"), year.cast(pl.Int32).alias(YEAR), *others
    )


def _read_separated(path: Path, separator: str, names: list[str]) -> pl.LazyFrame:
    """GroupLens' own files: latin-1, no header, no quoting."""
    text = path.read_text(encoding="latin-1").encode()
    return _parsed(
        path,
        lambda: pl.read_csv(
            BytesIO(text), separator=separator, has_header=False, new_columns=names, infer_schema=False, quote_char=None
        ),
    )


def _read_atomic(path: Path) -> pl.LazyFrame:
    """RecBole's atomic files: tab-separated, the type behind a colon in each column's name."""
    frame = _parsed(path, lambda: pl.read_csv(path, separator="\t", infer_schema=False, quote_char=None))
    return frame.rename(lambda name: name.split(":")[0])


def _read_double_colon(path: Path, names: list[str]) -> pl.LazyFrame:
    """Files separated by `::`: UTF-8 (MovieTweetings), else latin-1 (MovieLens-1M, 10M)."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    lines = pl.Series("line", [text.replace("\r\n", "\n").rstrip("\n")]).str.split("\n").explode()
    parts = pl.col("line").str.split_exact("::", len(names) - 1).struct.rename_fields(names)
    return lines.to_frame().lazy().filter(pl.col("line") != "").select(parts.alias("parts")).unnest("parts")


def _parsed(path: Path, read: Callable[[], pl.DataFrame]) -> pl.LazyFrame:
    try:
        return read().lazy()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise unreadable(path.name, str(path), error) from error


_FORMS: Mapping[str, Callable[[Path], _Tables]] = {
    "u.data": _grouplens,
    "ratings.csv": _csv,
    "ratings.dat": _dat,
    "*.inter": _recbole,
}
"""The file that shows a form, and its reader."""
