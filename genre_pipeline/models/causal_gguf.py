"""A causal language model in the GGUF format, turned into a folder of safetensors, configuration and tokenizer once.

Reading GGUF takes twenty seconds of pure Python, and what it gives counts as quantised, which neither saves nor
trains. The converted folder is kept under the sha256 of its source with the sha256 of each of its files, so that a
damaged one gives itself away and is made again.
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.models.causal import CAUSAL
from genre_pipeline.models.converted_weights import check_sha256
from genre_pipeline.models.model_files import (
    PACKAGE_PREFIX,
    files_sha256,
    package_roots,
    unreadable,
    without_progress_bar,
)

_VERSION = "1"
_MANIFEST = "converted.json"


def find_gguf(source: str) -> Path | None:
    """The GGUF file of a source: the file itself, the one in a directory, or the one in `package:<name>`; else None.

    Raises:
        ModelFileError: the package is not installed, or there are several such files.
    """
    path = Path(source).expanduser()
    if source.startswith(PACKAGE_PREFIX):
        found = sorted(file for root in package_roots(source, CAUSAL) for file in root.rglob("*.gguf"))
    elif path.suffix == ".gguf":
        found = [path] if path.is_file() else []
    else:
        found = sorted(path.glob("*.gguf")) if path.is_dir() else []
    if len(found) > 1:
        raise ModelFileError(
            f"{source} holds several GGUF files",
            remedy="Name one of them by its path.",
            culprits=[file.name for file in found],
        )
    return found[0] if found else None


def converted_gguf(
    source: Path, cache: Path, *, sha256: str | None = None, say: Callable[[str], None] = lambda line: None
) -> Path:
    """The folder made of a GGUF file, in `cache`; converted now if it is not there whole, and `say` hears of it.

    `sha256` pins the source.

    Raises:
        ModelFileError: the file is not the pinned one, or transformers cannot read it.
    """
    if sha256 is not None:
        check_sha256(source, sha256)
    folder = cache / f"{files_sha256([source])[:16]}-{_VERSION}"
    if not _is_whole(folder):
        say(f"{source.name}: converted from GGUF, once")
        _convert_into(source, folder)
    return folder


def _is_whole(folder: Path) -> bool:
    manifest = folder / _MANIFEST
    if not manifest.is_file():
        return False
    try:
        digests = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return bool(digests) and all(
        (folder / name).is_file() and files_sha256([folder / name]) == digest for name, digest in digests.items()
    )


def _convert_into(source: Path, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".converting-", dir=folder.parent))
    try:
        _convert(source, made)
        digests = {path.name: files_sha256([path]) for path in sorted(made.iterdir())}
        (made / _MANIFEST).write_text(json.dumps(digests, indent=1), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        made.replace(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _convert(source: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, modeling_gguf_pytorch_utils
    from transformers.utils import logging

    # Its reader of GGUF has a bar past the switch that all other bars of transformers heed.
    modeling_gguf_pytorch_utils.tqdm = logging.tqdm
    where = {"pretrained_model_name_or_path": source.parent, "gguf_file": source.name, "local_files_only": True}
    try:
        with without_progress_bar():
            plain = GgufConfig(dequantize=True)
            model = AutoModelForCausalLM.from_pretrained(**where, quantization_config=plain, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(**where)
            # transformers believes the plain weights quantised still, and would refuse to save them.
            for owner, name in ((model, "hf_quantizer"), (model.config, "quantization_config")):
                vars(owner).pop(name, None)
            model.save_pretrained(target)
            tokenizer.save_pretrained(target)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise unreadable(str(source), error) from error
