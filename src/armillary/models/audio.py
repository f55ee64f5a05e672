"""Which parameters of an audio-text model are the language model's.

No table of architectures: the audio tower is the module built from ``audio_config``, the language model the one built
from the text configuration; what stands between the two is the connector. Voxtral, Qwen2-Audio and Audio Flamingo 3
are of this form.
"""

from collections.abc import Callable
from typing import Any, cast

from torch import nn
from transformers import PreTrainedModel

from armillary.errors import ModelError


def hears_only(model: nn.Module) -> bool:
    """True for a model with an audio tower and no vision tower, or a PEFT model around such a one."""
    config = getattr(_inner(model), "config", None)
    return getattr(config, "audio_config", None) is not None and getattr(config, "vision_config", None) is None


def audio_language_model(model: nn.Module) -> Callable[[str], bool]:
    """From a parameter's name to whether it is the language model's, the head counted in.

    Names are as in ``named_parameters()`` of the model, or of a PEFT, DDP or compiled model around it. ModelError for
    a model whose tower or language model can't be found.
    """
    inner = _inner(model)
    config = cast(Any, inner.config)
    text = _path_of(inner, config.get_text_config())
    _path_of(inner, config.audio_config)
    head = inner.get_output_embeddings()
    paths = [text, *(name for name, module in inner.named_modules() if module is head)]
    return lambda name: any(f".{path}." in f".{name}." for path in paths)


def _inner(model: nn.Module) -> PreTrainedModel:
    base_of = getattr(model, "get_base_model", None)
    return cast(PreTrainedModel, model if base_of is None else base_of())


def _path_of(model: PreTrainedModel, config: object) -> str:
    """Dotted path of the outermost part that keeps a configuration of this class."""
    for name, module in model.named_modules():  # outer modules come before inner ones
        if name and type(getattr(module, "config", None)) is type(config):
            return str(name)
    raise ModelError(
        f"no part of {type(model).__name__} is built from its {type(config).__name__}; it may be of a kind not yet "
        "known."
    )
