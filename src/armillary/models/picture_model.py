"""A real image-text model put together from parts that need no model hub: DINOv2-small, a language model, a connector.

It is transformers' own ``LlavaForConditionalGeneration`` with its ``LlavaProcessor``: ``save_pretrained`` of both into
one folder makes a model that ``AutoModelForImageTextToText`` and ``AutoProcessor`` open. The connector is new: until
it is trained, pictures say nothing.

Shapes: B images, P pixels a side, N patches, v width of the tower, d width of the language model.
"""

import copy
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from transformers import (
    Dinov2Model,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from armillary.errors import ModelError
from armillary.models.dinov2 import fetch_dinov2, patch_size, shortened
from armillary.models.image_token import IMAGE_TOKEN, with_image_token
from armillary.models.load import load
from armillary.models.loaded import LoadedModel
from armillary.models.probe import agree
from armillary.models.quiet import quiet

VISION_LAYERS = 8
"""Of DINOv2-small's twelve; the state behind them tells pictures apart better than that behind all."""

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, with which DINOv2 was trained
_BICUBIC = 3
_SAMPLES = 32


def assemble_picture_model(
    language_model: str | LoadedModel,
    *,
    image_size: int = 56,
    connector_seed: int = 0,
    tower: Dinov2Model | None = None,
    vision_layers: int = VISION_LAYERS,
) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """An image-text model in eval mode and its processor; a picture takes (image_size / 14)^2 tokens of ``<image>``.

    ``language_model`` is what ``load`` accepts by name, or a loaded model, which stays as it was. ``tower`` is a whole
    DINOv2 model, by default DINOv2-small, fetched at first use; its first ``vision_layers`` layers are kept and read
    before its final norm. Pictures are resized to a square. The connector is drawn from ``connector_seed`` and scaled
    so that image embeddings have the root mean square of the text's. The global random generator is left as it was.

    Raises ModelError for a language model that LLaVA can't hold (a soft cap or factor behind the head, a tied
    embedding that is not called ``embed_tokens``), UsageError for an image size that is no multiple of the patch size,
    and what ``load`` and ``fetch_dinov2`` raise.
    """
    text = load(language_model) if isinstance(language_model, str) else language_model
    _refuse_unfit(text)
    if tower is None:
        with quiet():
            tower = Dinov2Model.from_pretrained(fetch_dinov2())
    short = shortened(tower, vision_layers, image_size)
    short.to(device=text.device, dtype=text.dtype)  # type: ignore[call-arg]
    inner = text.model if isinstance(language_model, str) else copy.deepcopy(text.model)
    tokenizer, image_token_id = with_image_token(inner, text.tokenizer)
    model = _joined(short, inner, image_token_id, (image_size // patch_size(short)) ** 2)
    processor = _processor(tokenizer, image_size, patch_size(short))
    scale_connector(model, connector_seed)
    _require_same_text(model, text)
    return model, processor


def _refuse_unfit(text: LoadedModel) -> None:
    anatomy = text.anatomy
    if anatomy.softcap is not None or anatomy.scale != 1.0 or getattr(anatomy.head, "bias", None) is not None:
        what = "a soft cap, a factor or a bias behind its head"
    elif anatomy.tied and getattr(anatomy.base, "embed_tokens", None) is not anatomy.embedding:
        what = "a tied embedding under a name of its own"
    else:
        return
    raise ModelError(f"{text.name} has {what}, which LLaVA can't hold; give a model such as Llama, Qwen or Gemma 3.")


def _joined(
    tower: Dinov2Model, text: PreTrainedModel, image_token_id: int, image_tokens: int
) -> LlavaForConditionalGeneration:
    config = LlavaConfig(
        vision_config=tower.config,
        text_config=text.config,
        image_token_index=image_token_id,
        image_seq_length=image_tokens,
        vision_feature_layer=-1,  # before the final norm, as DINOv2's hidden states are
        vision_feature_select_strategy="default",  # without the class token
    )
    with torch.device("meta"), quiet():  # the parts below have values; only the connector is new
        model = LlavaForConditionalGeneration(config)
    place = text.get_input_embeddings().weight
    model.model.vision_tower, model.model.language_model = tower, text.base_model
    model.lm_head = text.get_output_embeddings()
    model.model.multi_modal_projector.to_empty(device=place.device).to(place.dtype)
    if text.generation_config is not None:
        model.generation_config = copy.deepcopy(text.generation_config)
    model.eval()
    return model


def picture_processor(image_size: int) -> LlavaImageProcessorPil:
    """From pictures to ``pixel_values``: resized to a square and normalised as for DINOv2."""
    square = {"height": image_size, "width": image_size}
    return LlavaImageProcessorPil(
        size=square,
        crop_size=square,
        do_center_crop=False,
        resample=_BICUBIC,
        image_mean=list(_MEAN),
        image_std=list(_STD),
    )


def _processor(tokenizer: PreTrainedTokenizerBase, image_size: int, patch: int) -> LlavaProcessor:
    return LlavaProcessor(
        image_processor=picture_processor(image_size),
        tokenizer=tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # the class token, which "default" takes off again
        image_token=IMAGE_TOKEN,
        chat_template=tokenizer.chat_template,
    )


def smooth_pictures(count: int, size: int, seed: int) -> Float[Tensor, "B 3 P P"]:
    """Random pictures of a few soft patches of colour, normalised as for DINOv2: something that is not noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 5, 5, generator=generator)
    pictures = functional.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=True)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (_MEAN, _STD))
    return (pictures - mean) / std


@torch.no_grad()
def scale_connector(model: LlavaForConditionalGeneration, seed: int) -> None:
    """Draws LLaVA's two-layer connector anew, in place.

    Normal weights and no biases; then the first matrix is scaled so that what enters the activation has root mean
    square 1, and the second so that what comes out has that of the token embeddings, both on 32 soft random pictures.
    """
    connector = cast(Any, model.model.multi_modal_projector)
    generator = torch.Generator().manual_seed(seed)
    for linear in (connector.linear_1, connector.linear_2):
        drawn = torch.randn(linear.weight.shape, generator=generator) * linear.in_features**-0.5
        linear.weight.copy_(drawn)
        linear.bias.zero_()
    embedding = cast(Any, model.get_input_embeddings())
    rows = torch.arange(embedding.num_embeddings, device=embedding.weight.device)
    tower = cast(Any, model.model.vision_tower)
    pictures = smooth_pictures(_SAMPLES, tower.config.image_size, seed=0).to(rows.device, model.dtype)
    seen = tower(pictures, output_hidden_states=True).hidden_states[-1][:, 1:]
    connector.linear_1.weight.div_(_rms(connector.linear_1(seen)))
    # Through the module: Gemma multiplies its embeddings after looking them up.
    connector.linear_2.weight.mul_(_rms(embedding(rows)) / _rms(connector(seen)))


def _rms(values: Tensor) -> Tensor:
    return values.float().square().mean().sqrt()


def _require_same_text(model: LlavaForConditionalGeneration, text: LoadedModel) -> None:
    """Raises ModelError where, without a picture, the new model's logits are not those of its language model."""
    vocabulary = text.anatomy.vocabulary_size
    ids = (torch.arange(1, 5, device=text.device) * (vocabulary // 6) % vocabulary)[None]
    with torch.no_grad():
        ours, theirs = model(input_ids=ids).logits, text.model(input_ids=ids).logits
    if not agree(ours[..., :vocabulary], theirs[..., :vocabulary]):  # there may be a new row for <image>
        raise ModelError(f"{text.name} does not give its own logits inside LLaVA; give a model such as Llama or Qwen.")
