"""Where the parts of an image-text model are, whether a batch's image tokens are whole, and what stands before them.

No table of architectures: the vision tower is the module built from ``vision_config``, the language model the one
built from the text configuration, the connector what the multimodal base holds besides the two. Where it holds nothing
else (Qwen2-VL), the connector is the part of the tower behind its blocks that writes vectors of the text's width.

Shapes: B rows, T tokens.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from armillary.errors import ModelError, UsageError

Component = Literal["vision_tower", "connector", "language_model"]
COMPONENTS: tuple[Component, ...] = ("vision_tower", "connector", "language_model")
_COLOURS = 3


@dataclass(frozen=True, kw_only=True)
class VisionAnatomy:
    """The parts of one image-text model; the modules are the model's own, not copies."""

    vision_tower: nn.Module
    """From pixels to patch states. In Qwen2-VL and its like the connector sits inside it."""

    connector: nn.Module | None
    """From patch states to vectors that stand among the token embeddings; a ModuleList of the parts where there are
    several, None where there is none."""

    language_model: nn.Module
    """The text decoder, embedding and final norm included, head not."""

    layers: tuple[nn.Module, ...]
    """Decoder blocks of the language model in order."""

    embedding: nn.Module
    head: nn.Module
    image_token_id: int
    hidden_size: int
    """Width of the language model."""

    num_layers: int
    paths: tuple[tuple[str, Component], ...]
    """Dotted path of each part in the model and what it counts as; the first that fits a parameter's name decides."""

    def image_mask(self, input_ids: Int[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
        """True at the image tokens, whose embeddings the model replaces by the connector's output."""
        return input_ids == self.image_token_id

    def component(self, parameter_name: str) -> Component:
        """The part that a parameter belongs to, the head to the language model.

        ``parameter_name`` is as in ``named_parameters()`` of the model, or of a PEFT, DDP or compiled model around it.
        Raises UsageError for a name that is in no part.
        """
        name = f".{parameter_name}."
        for path, component in self.paths:
            if f".{path}." in name:
                return component
        known = ", ".join(path for path, _ in self.paths)
        raise UsageError(f"{parameter_name!r} is no parameter of this model; its parts are {known}.")


_FIT = "give an image-text model such as LLaVA, SmolVLM or Qwen2-VL"


def find_vision_anatomy(model: nn.Module) -> VisionAnatomy:
    """The parts of an image-text model, or of the one inside a PEFT model.

    Encoders of other senses (audio, video, a second one of pixels) count as ``vision_tower`` among the parameters.
    Raises ModelError for a text-only model, for one that does not put image features in the places of one token of
    its prompt (cross-attention, encoder-decoder), and for one without a decoder or a head.
    """
    base_of = getattr(model, "get_base_model", None)
    inner = cast(PreTrainedModel, model if base_of is None else base_of())
    kind, config = type(inner).__name__, cast(Any, getattr(inner, "config", None))
    image_token_id = image_token_of(config, kind)
    vision_config, text_config = config.vision_config, config.get_text_config()
    head, embedding, base = inner.get_output_embeddings(), inner.get_input_embeddings(), inner.base_model
    if not isinstance(head, nn.Module):
        raise ModelError(f"{kind} has no unembedding matrix; give an image-text model that gives next-token logits.")
    towers = _built_from(base, vision_config, head, kind)
    language_model = _built_from(base, text_config, head, kind)[0]
    layers = _block_list(language_model, text_config.num_hidden_layers)
    if layers is None:
        raise ModelError(f"the decoder of {kind} has no list of {text_config.num_hidden_layers} layers to look into.")
    hidden_size = int(text_config.hidden_size)
    names = {module: name for name, module in inner.named_modules()}
    tower = next((one for one in towers if "video" not in names[one]), towers[0])
    others = _besides(base, *towers, language_model, head)
    encoders = [part for part in others if _encodes(part, getattr(config, "audio_config", None))]
    connectors = [part for part in others if part not in encoders] or _behind_blocks(tower, vision_config, hidden_size)
    whole = connectors[0] if len(connectors) == 1 else nn.ModuleList(connectors)
    parts: list[tuple[nn.Module, Component]] = [(part, "connector") for part in connectors]
    parts += [(part, "vision_tower") for part in (*towers, *encoders)]
    parts += [(language_model, "language_model"), (head, "language_model")]
    paths = [(names[part], component) for part, component in parts]
    if base is not inner:
        paths.append((names[base], "connector"))
    # What is loose between the parts, such as LLaVA-NeXT's image_newline and BLIP-2's query tokens.
    loose = (name for name, _ in inner.named_parameters() if not any(f".{path}." in f".{name}." for path, _ in paths))
    return VisionAnatomy(
        vision_tower=tower,
        connector=whole if connectors else None,
        language_model=language_model,
        layers=tuple(layers),
        embedding=embedding,
        head=head,
        image_token_id=image_token_id,
        hidden_size=hidden_size,
        num_layers=len(layers),
        paths=(*paths, *((name, "connector") for name in loose)),
    )


def image_token_of(config: Any, kind: str) -> int:
    """The id in whose places a model of this configuration puts image features.

    ModelError, which begins with ``kind``, for a text model and for one that takes images in no such way.
    """
    seeing = getattr(config, "vision_config", None) is not None
    if not seeing and getattr(config, "model_type", None) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise ModelError(f"{kind} is a text model; give an image-text model such as LLaVA, SmolVLM or Qwen2-VL.")
    if config.is_encoder_decoder or (seeing and getattr(config.get_text_config(), "is_encoder_decoder", False)):
        raise ModelError(f"{kind} is an encoder-decoder model: its decoder reads no image tokens; {_FIT}.")
    if not seeing:
        raise ModelError(f"{kind} has no vision tower of its own (no vision_config in its configuration); {_FIT}.")
    crossing = ("cross_attention_layers", "cross_layer_interval", "encoder_hidden_size")
    if any(hasattr(config.get_text_config(), name) for name in crossing):
        raise ModelError(f"{kind} reads images by cross-attention, not among its tokens; {_FIT}.")
    named = [name for name in ("image_token_id", "image_token_index") if hasattr(config, name)]
    if not named:
        raise ModelError(f"{kind} does not mark the place of an image by one token (no image_token_id); {_FIT}.")
    token = getattr(config, named[0])
    if not isinstance(token, int):
        raise ModelError(
            f"{kind} has an empty {named[0]} in its configuration; set it to the id of the token that its processor "
            "puts where an image stands."
        )
    return token


def _built_from(base: nn.Module, config: object, head: nn.Module, kind: str) -> list[nn.Module]:
    """Outermost modules under ``base``, without the head, that keep a configuration of this class."""
    modules: dict[str, nn.Module] = {}
    for name, module in base.named_modules():  # outer modules come before inner ones
        if module is base or type(getattr(module, "config", None)) is not type(config):
            continue
        if not any(name.startswith(f"{outer}.") for outer in modules) and head not in module.modules():
            modules[name] = module
    if not modules:
        raise ModelError(
            f"no part of {kind} is built from its {type(config).__name__}; it may be of a kind not yet known."
        )
    return list(modules.values())


def _encodes(part: nn.Module, audio_config: object) -> bool:
    """True for an encoder of pixels or sounds: it begins with a convolution over colours, or is built for audio."""
    return any(
        (isinstance(module, (nn.Conv2d, nn.Conv3d)) and module.in_channels == _COLOURS)
        or (audio_config is not None and type(getattr(module, "config", None)) is type(audio_config))
        for module in part.modules()
    )


def _block_list(module: nn.Module, length: int | None = None) -> nn.ModuleList | None:
    """The largest module list inside, of the given length if any."""
    lists = [m for m in module.modules() if isinstance(m, nn.ModuleList) and length in (None, len(m))]
    return max(lists, key=_size, default=None)


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _besides(base: nn.Module, *known: nn.Module) -> list[nn.Module]:
    """Outermost modules with parameters under ``base`` that neither are nor hold a known one."""
    modules = []
    for child in base.children():
        inside = set(child.modules())
        if not any(module in inside for module in known):
            modules += [child] if _size(child) else []
        elif child not in known:
            modules += _besides(child, *(module for module in known if module in inside))
    return modules


def _behind_blocks(tower: nn.Module, vision_config: object, width: int) -> list[nn.Module]:
    """Children of the tower, other than its blocks, with a linear map to ``width``."""
    depth = getattr(vision_config, "num_hidden_layers", getattr(vision_config, "depth", None))
    blocks = _block_list(tower, depth)
    return [
        child
        for child in tower.children()
        if not any(module is blocks for module in child.modules())
        and any(isinstance(module, nn.Linear) and module.out_features == width for module in child.modules())
    ]


_DIFFER = re.compile(
    r"(image|audio) features and \w+ tokens do not match, tokens: \D*(\d+).*?, features: \D*(\d+)", re.I
)


@contextmanager
def cut_images_are_told(model: nn.Module) -> Iterator[None]:
    """Inside, the error of a model of transformers whose batch has other numbers of image tokens and features (or of
    audio) becomes a UsageError with both numbers and the likely cause."""
    config: Any = getattr(model, "config", None)
    # LLaVA of transformers 5.23 names how many numbers its features consist of.
    each = config.get_text_config().hidden_size if getattr(config, "model_type", "") == "llava" else 1
    try:
        yield
    except ValueError as error:
        match = _DIFFER.search(str(error))
        if match is None:
            raise
        what = match[1].lower()
        raise UsageError(
            f"the batch has {match[2]} {what} tokens for {int(match[3]) // each} {what} features; give as many {what} "
            f"tokens as features (a maximum length that cuts the text may have cut the {what})."
        ) from error


def text_before_images(
    input_ids: Int[Tensor, "B T"],
    image_token_id: int,
    attention_mask: Int[Tensor, "B T"] | Bool[Tensor, "B T"] | None = None,
    *,
    allowed: Collection[int] = (),
) -> frozenset[tuple[int, ...]]:
    """The different token sequences that stand before a row's last image token, image runs written as one token.

    Where there is one at most, image states depend on the images only, and may be kept across texts. Rows without an
    image give none. Padding (mask 0) and the ``allowed`` ids (the marks that a processor puts around
    images and tiles) are left out. Over several batches take the union.
    """
    attended = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    prefixes = set()
    for ids, mask in zip(input_ids.tolist(), attended.tolist(), strict=True):
        row = [token for token, seen in zip(ids, mask, strict=True) if seen]
        if image_token_id not in row:
            continue
        last = len(row) - row[::-1].index(image_token_id)
        kept = (token for token in row[:last] if token not in allowed)
        prefixes.add(tuple(t for token, run in groupby(kept) for t in ([token] if token == image_token_id else run)))
    return frozenset(prefixes)


# An image's states behind a frozen vision tower, computed once instead of at every step.
#
# Shapes: B images, N states of one image (the class token first, where the tower has one), v width of the tower.


class StoredStates(nn.Module):
    """Stands where a vision tower was: its "pixels" are the states that the tower gave for the images."""

    def __init__(self, config: object) -> None:
        """``config`` is the tower's, by which the model's parts are found."""
        super().__init__()
        self.config = config

    def forward(self, pixel_values: Float[Tensor, "B N v"], **_: Any) -> BaseModelOutputWithPooling:
        """The states themselves, as the last of the hidden states."""
        return BaseModelOutputWithPooling(last_hidden_state=pixel_values, hidden_states=(pixel_values,))


@torch.inference_mode()
def tower_states(model: PreTrainedModel, images: Iterable[Tensor]) -> Iterator[Float[Tensor, "B N v"]]:
    """For each batch of images ``[B, 3, P, P]`` the states that the model's connector reads, class token included.

    For models of LLaVA's kind, whose connector reads one layer of the tower.
    """
    tower = find_vision_anatomy(model).vision_tower
    layer = cast(Any, model.config).vision_feature_layer
    for batch in images:
        seen = tower(batch.to(device=model.device, dtype=model.dtype), output_hidden_states=True)
        yield seen.hidden_states[layer].clone()


@contextmanager
def stored_states(model: PreTrainedModel) -> Iterator[None]:
    """Inside, ``pixel_values`` of the model are what ``tower_states`` gave; everything else is as before.

    The layer that the connector reads is the last one meanwhile, since only that one is kept.
    """
    inner, config = cast(Any, model).model, cast(Any, model.config)
    tower, layer = inner.vision_tower, config.vision_feature_layer
    try:
        inner.vision_tower, config.vision_feature_layer = StoredStates(tower.config), -1
        yield
    finally:
        inner.vision_tower, config.vision_feature_layer = tower, layer
