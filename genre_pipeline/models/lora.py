"""Low-rank adapters on a network (Hu et al. 2021, arXiv 2106.09685), through peft: put in, and merged for serving."""

from typing import Any

from torch import nn

from genre_pipeline.contracts.errors import ConfigError
from genre_pipeline.models.tower_config import LoraConfig, LoraTargets

_ATTENTION = ("attention", "attn")


def add_adapters(network: Any, config: LoraConfig) -> None:
    """Put adapters into a network of transformers, in place, and freeze everything else.

    Raises:
        ConfigError: the network has nothing of what `config.targets` names.
    """
    import peft

    names = target_modules(network, config.targets)
    if not names:
        raise ConfigError(
            f"A {type(network).__name__} has no modules for LoRA targets {config.targets!r}",
            remedy="Set `lora.targets` to all-linear or embedding.",
        )
    settings = peft.LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=names
    )
    peft.inject_adapter_in_model(settings, network)


def target_modules(network: Any, targets: LoraTargets) -> list[str]:
    """Names of the modules that get adapters."""
    if targets == "embedding":
        words = network.get_input_embeddings()
        return [name for name, module in network.named_modules() if module is words]
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    return [name for name in linear if targets == "all-linear" or any(part in name for part in _ATTENTION)]


def merge_adapters(network: nn.Module) -> None:
    """Add each adapter to the weight it stands on and take it away, in place: the plain network is left."""
    from peft.tuners.lora import LoraLayer

    adapted = [(name, module) for name, module in network.named_modules() if isinstance(module, LoraLayer)]
    for name, module in adapted:
        module.merge(safe_merge=True)
        network.set_submodule(name, module.get_base_layer())
    if hasattr(network, "peft_config"):
        del network.peft_config
