import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from genre_pipeline.adapters import partitions
from genre_pipeline.adapters.partitions import MANIFEST, PART, Manifest, PartitionStore
from genre_pipeline.contracts.errors import ContractError, CorruptPartitionError, MissingPartitionError

FRAME = pl.DataFrame({"item_id": ["007", "é"], "score": [0.5, None]}, schema_overrides={"score": pl.Float32})
OTHER = FRAME.with_columns(score=pl.lit(9.0, pl.Float32))
DECISIONS = {"seed": 20, "weights": [0.25, 0.75], "names": {"é": None}}


class Killed(BaseException):
    """As a signal would end the process: not an Exception."""


@pytest.fixture
def store(tmp_path: Path) -> PartitionStore:
    return PartitionStore(tmp_path / "data [1] *")


def _companion(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "model").mkdir()
        (folder / "model" / "weights.bin").write_text(text)

    return write


def test_what_was_written_is_read(store: PartitionStore) -> None:
    manifest = store.write("items", "2024-03-01", FRAME, decisions=DECISIONS)
    assert_frame_equal(store.read("items", "2024-03-01"), FRAME)
    assert (manifest.table, manifest.key, manifest.rows) == ("items", "2024-03-01", 2)
    assert store.verify("items", "2024-03-01") == manifest == store.manifest("items", "2024-03-01")
    assert dict(manifest.decisions) == DECISIONS
    assert list(manifest.files) == [PART]


def test_an_empty_frame_is_a_partition_too(store: PartitionStore) -> None:
    store.write("items", "2024-03-01", FRAME.clear())
    assert_frame_equal(store.read("items", "2024-03-01"), FRAME.clear())


@settings(max_examples=15, deadline=None)
@given(
    rows=st.lists(st.tuples(st.text(max_size=5), st.floats(width=32) | st.none()), max_size=20),
    decisions=st.dictionaries(st.text(max_size=5), st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)),
)
def test_equal_inputs_give_equal_manifests_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, float | None]], decisions: dict[str, object]
) -> None:
    frame = pl.DataFrame(rows, schema={"item_id": pl.String, "score": pl.Float32}, orient="row")
    stores = [PartitionStore(tmp_path_factory.mktemp("store")) for _ in range(2)]
    one, other = (store.write("t", "k", frame, decisions=decisions) for store in stores)
    assert one.fingerprint == other.fingerprint == stores[0].manifest("t", "k").fingerprint
    assert (stores[0].root / "t/k" / MANIFEST).read_bytes() == (stores[1].root / "t/k" / MANIFEST).read_bytes()


def test_anything_else_gives_another_fingerprint(store: PartitionStore) -> None:
    first = store.write("t", "k", FRAME, decisions={"seed": 1})
    others = [
        store.write("t", "k", FRAME, decisions={"seed": 2}),
        store.write("t", "k", OTHER, decisions={"seed": 1}),
        store.write("t", "k", FRAME, decisions={"seed": 1}, companions=_companion("x")),
        store.write("t", "k2", FRAME, decisions={"seed": 1}),
        store.write("t", "k", FRAME.rename({"score": "value"}), decisions={"seed": 1}),
    ]
    assert len({first.fingerprint, *(other.fingerprint for other in others)}) == 6
    assert store.write("t", "k", FRAME, decisions={"seed": 1}).fingerprint == first.fingerprint


def test_writing_again_replaces_the_whole_partition(store: PartitionStore) -> None:
    store.write("t", "k", FRAME, companions=_companion("old"))
    store.write("t", "k", OTHER)
    assert_frame_equal(store.read("t", "k"), OTHER)
    assert sorted(path.name for path in store.folder("t", "k").iterdir()) == [MANIFEST, PART]
    assert [path.name for path in (store.root / "t").iterdir()] == ["k"]


def test_without_an_exchange_of_folders_it_is_replaced_too(
    store: PartitionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "_exchange", lambda one, other: False)
    store.write("t", "k", FRAME)
    store.write("t", "k", OTHER)
    assert_frame_equal(store.read("t", "k"), OTHER)
    assert [path.name for path in (store.root / "t").iterdir()] == ["k"]


def test_an_exchange_swaps_two_folders_or_says_that_it_cannot(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / folder.name).touch()
    swapped = partitions._exchange(one, other)
    assert (one / "other").exists() is swapped
    assert (other / "one").exists() is swapped
    with pytest.raises(FileNotFoundError):
        partitions._exchange(one, tmp_path / "nowhere")


def test_companions_are_part_of_the_partition(store: PartitionStore) -> None:
    manifest = store.write("t", "k", FRAME, companions=_companion("weights"))
    assert list(manifest.files) == ["model/weights.bin", PART]
    assert (store.folder("t", "k") / "model" / "weights.bin").read_text() == "weights"


@pytest.mark.parametrize("error", [Killed, RuntimeError])
def test_a_write_that_is_broken_off_leaves_the_old_partition(store: PartitionStore, error: type[BaseException]) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise error

    with pytest.raises(error):
        store.write("t", "new", FRAME, companions=fail)
    assert store.keys("t") == []
    store.write("t", "k", FRAME)
    with pytest.raises(error):
        store.write("t", "k", OTHER, companions=fail)
    assert_frame_equal(store.read("t", "k"), FRAME)
    assert [path.name for path in (store.root / "t").iterdir()] == ["k"]


def test_what_a_killed_process_left_is_no_key(store: PartitionStore) -> None:
    store.write("t", "k", FRAME)
    for left in (".writing-abc", ".retired-abc/k"):
        folder = store.root / "t" / left
        folder.mkdir(parents=True)
        for name in (PART, MANIFEST):
            (folder / name).write_bytes((store.root / "t" / "k" / name).read_bytes())
    (store.root / "t" / "empty").mkdir()
    assert store.keys("t") == ["k"]
    assert not store.has("t", "empty")
    assert store.scan("t").collect().height == 2


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ (1 << (at % 8))]) + data[at + 1 :]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> PartitionStore:
    store = PartitionStore(tmp_path_factory.mktemp("whole"))
    store.write("t", "k", FRAME, decisions=DECISIONS, companions=_companion("weights"))
    return store


FAULTS: dict[str, Callable[[bytes, int], bytes]] = {
    "flipped": _flip,
    "truncated": lambda data, at: data[:at],
    "zeroed": lambda data, at: bytes(len(data)),
    "emptied": lambda data, at: b"",
    "lengthened": lambda data, at: data + b"\n",
}


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from([PART, MANIFEST, "model/weights.bin"]),
    fault=st.sampled_from(sorted(FAULTS)),
    place=st.floats(0, 1, exclude_max=True),
)
def test_any_damage_to_any_file_is_noticed(whole: PartitionStore, name: str, fault: str, place: float) -> None:
    store, path = whole, whole.root / "t" / "k" / name
    data = path.read_bytes()
    path.write_bytes(FAULTS[fault](data, int(place * len(data))))
    reads: list[Callable[[], object]] = [
        lambda: store.read("t", "k"), lambda: store.folder("t", "k"), lambda: store.scan("t"),
    ]  # fmt: skip
    for read in reads:
        with pytest.raises(CorruptPartitionError, match="t, partition 'k', does not match its manifest") as caught:
            read()
        assert caught.value.culprits == (name,)
    path.write_bytes(data)
    store.verify("t", "k")


def test_a_file_that_went_away_is_noticed(store: PartitionStore) -> None:
    store.write("t", "k", FRAME, companions=_companion("weights"))
    (store.root / "t/k/model/weights.bin").unlink()
    with pytest.raises(CorruptPartitionError):
        store.read("t", "k")


def test_a_partition_under_anothers_name_is_noticed(store: PartitionStore) -> None:
    store.write("t", "k", FRAME)
    (store.root / "t" / "k").rename(store.root / "t" / "k2")
    with pytest.raises(CorruptPartitionError, match="'k2'"):
        store.read("t", "k2")


@pytest.mark.parametrize("text", ["[]", "1", "null", "{}", '{"table": "t"}'])
def test_other_json_is_no_manifest(store: PartitionStore, text: str) -> None:
    store.write("t", "k", FRAME)
    (store.root / "t" / "k" / MANIFEST).write_text(text)
    with pytest.raises(CorruptPartitionError):
        store.manifest("t", "k")


def test_a_manifest_goes_through_its_file(store: PartitionStore) -> None:
    manifest = store.write("t", "k", FRAME, decisions=DECISIONS)
    assert Manifest.from_file(manifest.to_file()) == manifest
    assert json.loads(manifest.to_file())["sha256"] == manifest.fingerprint


def test_scan_reads_all_days_in_order_until_one(store: PartitionStore) -> None:
    for day in ("2024-03-02", "2024-03-01", "2024-03-03"):
        store.write("t", day, pl.DataFrame({"day": [day]}))
    assert store.keys("t") == ["2024-03-01", "2024-03-02", "2024-03-03"]
    assert store.scan("t").collect()["day"].to_list() == store.keys("t")
    assert store.scan("t", until="2024-03-02").collect()["day"].to_list() == ["2024-03-01", "2024-03-02"]
    with pytest.raises(MissingPartitionError, match="t has no partition '2024-02-28'"):
        store.scan("t", until="2024-02-28")


def test_what_is_not_there_is_named_with_the_remedy(store: PartitionStore) -> None:
    assert store.keys("t") == []
    assert not store.has("t", "k")
    for read in (store.read, store.verify, store.manifest, store.folder):
        with pytest.raises(MissingPartitionError, match=r"t has no partition 'k' under .*\. Materialise it with"):
            read("t", "k")  # type: ignore[operator]
    with pytest.raises(MissingPartitionError, match="'any'"):
        store.scan("t")


@pytest.mark.parametrize(
    "name", ["..", ".", "", "/etc", "a/b", "../a", "a/../../b", ".hidden", "a\n", "a\0", "a b", "é", "x" * 129]
)
def test_a_name_that_could_leave_the_root_is_refused(store: PartitionStore, name: str) -> None:
    for call in (store.read, store.has, store.manifest):
        with pytest.raises(ContractError, match="characters outside") as caught:
            call("t", name)  # type: ignore[operator]
        assert caught.value.culprits == (name,)
    with pytest.raises(ContractError):
        store.write(name, "k", FRAME)
    with pytest.raises(ContractError):
        store.keys(name)
    assert not store.root.exists()
