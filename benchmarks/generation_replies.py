"""Replies to a file of requests, by a causal language model: torch and transformers, nothing of this project.

    python generation_replies.py --model MODEL --requests requests.jsonl.gz --replies replies.jsonl

MODEL is a directory of safetensors with its tokenizer or of one GGUF file, or a hub id. A request is a line of JSON:
key, system, user, max_tokens, stop, is_chat. The first line written names the model and how it chose its words; then a
line a reply: key, text, input_tokens, output_tokens, seconds. Greedy, left-padded, longest first, in batches of at most
`--tokens`.
Texts that are gone on with, rather than answered, take a repetition penalty.
Replies that the file has already are not asked for again, so that a run that was cut off goes on.
"""

import argparse
import gzip
import json
import sys
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--requests", type=Path, required=True)
    parser.add_argument("--replies", type=Path, required=True)
    parser.add_argument("--name", help="what the model is called in the replies; the model's own path unless given")
    parser.add_argument("--tokens", type=int, default=400_000, help="tokens a batch, prompts and replies together")
    parser.add_argument(
        "--completion-penalty", type=float, default=1.05, help="repetition penalty where is_chat is false"
    )
    options = parser.parse_args()

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    source = gguf_or_folder(options.model)
    tokenizer = AutoTokenizer.from_pretrained(options.model, padding_side="left", **source)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=dtype, **source).to(device).eval()
    how = f"greedy-c{options.completion_penalty:g}"
    identity = f"{options.name or Path(options.model).name}/{str(dtype).removeprefix('torch.')}/{how}"
    done = known(options.replies, identity)
    waiting = [row for row in rows(options.requests) if row["key"] not in done]
    texts = [text_of(row, tokenizer) for row in waiting]
    lengths = [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    order = sorted(range(len(waiting)), key=lambda at: (*kind(waiting[at]), lengths[at]), reverse=True)
    start, written = time.perf_counter(), 0
    with options.replies.open("a", encoding="utf-8") as file:
        for batch in batches(order, waiting, lengths, options.tokens):
            began = time.perf_counter()
            answers = written_by(model, tokenizer, [texts[at] for at in batch], waiting[batch[0]], options)
            share = (time.perf_counter() - began) / len(batch)
            for at, (text, tokens) in zip(batch, answers, strict=True):
                reply = {
                    "key": waiting[at]["key"], "text": before_stop(text, waiting[at]["stop"]),
                    "input_tokens": lengths[at], "output_tokens": tokens, "seconds": round(share, 6),
                }  # fmt: skip
                file.write(json.dumps(reply, ensure_ascii=False) + "\n")
            file.flush()
            written += len(batch)
            print(
                f"{written:,} of {len(waiting):,} in {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True
            )


def gguf_or_folder(model: str) -> dict[str, str]:
    """What transformers has to be told of a folder that holds a GGUF file and no safetensors (needs `gguf`)."""
    folder = Path(model)
    found = [] if any(folder.glob("*.safetensors")) else sorted(folder.glob("*.gguf"))
    return {"gguf_file": found[0].name} if found else {}


def written_by(model, tokenizer, texts, first, options):  # type: ignore[no-untyped-def]
    """(text, tokens) of each prompt; all are of the kind of `first`."""
    import torch

    penalty = 1.0 if first["is_chat"] else options.completion_penalty

    encoded = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(model.device)
    with torch.inference_mode():
        made = model.generate(
            **encoded, max_new_tokens=first["max_tokens"], do_sample=False, temperature=None, top_p=None, top_k=None,
            repetition_penalty=penalty, pad_token_id=tokenizer.pad_token_id,
        )[:, encoded["input_ids"].shape[1] :]  # fmt: skip
    ends = {tokenizer.eos_token_id, tokenizer.pad_token_id}
    counts = [next((at for at, token in enumerate(row) if token in ends), len(row)) for row in made.tolist()]
    return list(zip(tokenizer.batch_decode(made, skip_special_tokens=True), counts, strict=True))


def text_of(row, tokenizer) -> str:  # type: ignore[no-untyped-def]
    if not row["is_chat"]:
        return str(row["user"])
    roles = [{"role": "system", "content": row["system"]}] if row["system"] else []
    turns = [*roles, {"role": "user", "content": row["user"]}]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


def before_stop(text: str, stops: list[str]) -> str:
    cut = text.lstrip()
    for stop in stops:
        cut = cut.split(stop, 1)[0]
    return cut


def batches(order, waiting, lengths, tokens):  # type: ignore[no-untyped-def]
    """Runs of `order` of one kind, whose padded size fits; the first of a run is its longest."""
    batch = []
    for at in order:
        if batch:
            first = batch[0]
            size = (lengths[first] + waiting[first]["max_tokens"]) * (len(batch) + 1)
            if kind(waiting[at]) != kind(waiting[first]) or size > tokens:
                yield batch
                batch = []
        batch.append(at)
    if batch:
        yield batch


def kind(row) -> tuple[bool, int]:  # type: ignore[no-untyped-def]
    """What may be computed together."""
    return row["is_chat"], row["max_tokens"]


def known(path: Path, identity: str) -> set[str]:
    """Keys that the file has; it is begun with the model's name if it is new."""
    if not path.is_file() or not path.stat().st_size:
        path.write_text(json.dumps({"identity": identity}) + "\n", encoding="utf-8")
        return set()
    found = rows(path)
    if next(found)["identity"] != identity:
        sys.exit(f"{path} holds replies of another model")
    return {row["key"] for row in found}


def rows(path: Path):  # type: ignore[no-untyped-def]
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


if __name__ == "__main__":
    main()
