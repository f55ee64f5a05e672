"""A real image-text model put together from parts that need no model hub: DINOv2-small, a language model, a connector.

It is transformers' own ``LlavaForConditionalGeneration`` with its ``LlavaProcessor``: ``save_pretrained`` of both into
one folder makes a model that ``AutoModelForImageTextToText`` and ``AutoProcessor`` open. The connector is new: until
it is trained, images say nothing.

Shapes: B images, P pixels a side, N patches, v width of the tower, d width of the language model.
"""

import copy
import json
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from tokenizers import AddedToken
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    Dinov2Config,
    Dinov2Model,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from armillary.errors import ArmillaryError, ModelError, UsageError
from armillary.models.anatomy import agree
from armillary.models.dinov2 import fetch_dinov2, patch_size, shortened
from armillary.models.folders import require_readable
from armillary.models.hub import hub_folder, reachable
from armillary.models.loaded import LoadedModel, configuration_digest, fingerprint_of, joined_digest, processor_digest
from armillary.models.loading import load
from armillary.models.prompts import bare_ids
from armillary.models.quiet import quiet, reason, refuse_gaps, refuse_unread
from armillary.models.tiny_models import tiny
from armillary.models.vision import VisionAnatomy, find_vision_anatomy, image_token_of

# A place for ``<image>`` in a tokenizer and a language model, without a larger vocabulary where that can be.

IMAGE_TOKEN = "<image>"
_SAME = 0.9999  # cosine of two rows that training never told apart; less than 1 because of quantised files


def with_image_token(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> tuple[PreTrainedTokenizerBase, int]:
    """A tokenizer in which ``<image>`` is one special token, and its id; ``tokenizer`` stays as it was.

    Taken in this order: a token of that name; a row of the embedding beyond the tokenizer's last token; a special
    token that was never trained, which is renamed; a new row, for which ``model`` is enlarged in place, its embedding
    and unembedding the mean of the others.
    """
    embedding = model.get_input_embeddings()
    assert isinstance(embedding, nn.Embedding)
    known = tokenizer.get_vocab().get(IMAGE_TOKEN)
    if known is not None and bare_ids(tokenizer, [IMAGE_TOKEN]) == [[known]]:
        return copy.deepcopy(tokenizer), known
    spare = untrained_token(embedding.weight.detach(), tokenizer)
    if len(tokenizer) >= embedding.num_embeddings and spare is not None:
        return _renamed(tokenizer, spare), spare
    enlarged = copy.deepcopy(tokenizer)
    enlarged.add_tokens([AddedToken(IMAGE_TOKEN, special=True, normalized=False)], special_tokens=True)
    image_token_id = int(enlarged.get_vocab()[IMAGE_TOKEN])
    if image_token_id in tokenizer.get_vocab().values():
        raise ModelError(
            f"the tokenizer leaves ids out, so {IMAGE_TOKEN} would get the id of "
            f"{tokenizer.convert_ids_to_tokens(image_token_id)!r}; give a model whose ids follow one another."
        )
    if image_token_id >= embedding.num_embeddings:
        _enlarge(model, image_token_id + 1)
    return enlarged, image_token_id


def untrained_token(weight: Tensor, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The last special token whose embedding equals that of the special token before it, so that neither was trained.

    Tokens that the tokenizer gives a role (start, end, padding) or its chat template names are left alone.
    """
    template = str(getattr(tokenizer, "chat_template", None) or "")
    free = [
        token
        for token, added in sorted(tokenizer.added_tokens_decoder.items())
        if added.special
        and added.content not in tokenizer.all_special_tokens
        and added.content not in template
        and token < len(weight)
    ]
    rows = weight[torch.tensor(free, dtype=torch.long, device=weight.device)].float()
    same = (functional.cosine_similarity(rows[1:], rows[:-1], dim=-1) > _SAME).nonzero().flatten()
    return free[int(same[-1]) + 1] if len(same) else None


def _renamed(tokenizer: PreTrainedTokenizerBase, token: int) -> PreTrainedTokenizerBase:
    """A copy in which one added token is called ``<image>``; by its files, the only way that they leave open."""
    old = str(tokenizer.convert_ids_to_tokens(token))
    with tempfile.TemporaryDirectory() as folder, quiet():
        tokenizer.save_pretrained(folder)
        for path in Path(folder).glob("tokenizer*.json"):
            path.write_text(json.dumps(_replaced(json.loads(path.read_text("utf-8")), old)), "utf-8")
        renamed: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    renamed.name_or_path = tokenizer.name_or_path  # not the folder, which is gone
    return renamed


def _replaced(content: object, old: str) -> object:
    """JSON in which every string and every key ``old`` is ``<image>``."""
    if isinstance(content, dict):
        return {IMAGE_TOKEN if key == old else key: _replaced(value, old) for key, value in content.items()}
    if isinstance(content, list):
        return [_replaced(value, old) for value in content]
    return IMAGE_TOKEN if content == old else content


def _enlarge(model: PreTrainedModel, rows: int) -> None:
    """More rows in both matrices, the mean of those there were."""
    means = [matrix.weight.detach().mean(dim=0) for matrix in _matrices(model)]
    weight = _matrices(model)[0].weight
    before = len(weight)  # the parameter itself may be enlarged
    cards = [weight.device.index or 0] if weight.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cards), quiet():
        model.resize_token_embeddings(rows, mean_resizing=False)
    with torch.no_grad():
        for matrix, mean in zip(_matrices(model), means, strict=True):
            matrix.weight[before:] = mean


def _matrices(model: PreTrainedModel) -> tuple[Any, Any]:
    return model.get_input_embeddings(), model.get_output_embeddings()


VISION_LAYERS = 8
"""Of DINOv2-small's twelve; the state behind them tells images apart better than that behind all."""

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, with which DINOv2 was trained
_BICUBIC = 3  # the number of that filter in Pillow
_SAMPLES = 32  # images on which the connector is scaled: enough that the root mean square hardly depends on them


def assemble_image_text_model(
    language_model: str | LoadedModel,
    *,
    image_size: int = 56,
    connector_seed: int = 0,
    tower: Dinov2Model | None = None,
    vision_layers: int = VISION_LAYERS,
) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """An image-text model in eval mode and its processor; an image takes (image_size / 14)^2 tokens of ``<image>``.

    ``language_model`` is what ``load`` accepts by name, or a loaded model, which stays as it was. ``tower`` is a whole
    DINOv2 model, by default DINOv2-small, fetched at first use; its first ``vision_layers`` layers are kept and read
    before its final norm. Images are resized to a square. The connector is drawn from ``connector_seed`` and scaled
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
    embedding = text.get_input_embeddings().weight
    model.model.vision_tower, model.model.language_model = tower, text.base_model
    model.lm_head = text.get_output_embeddings()
    model.model.multi_modal_projector.to_empty(device=embedding.device).to(embedding.dtype)
    if text.generation_config is not None:
        model.generation_config = copy.deepcopy(text.generation_config)
    model.eval()
    return model


def square_image_processor(image_size: int) -> LlavaImageProcessorPil:
    """From images to ``pixel_values``: resized to a square and normalised as for DINOv2."""
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
        image_processor=square_image_processor(image_size),
        tokenizer=tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # the class token, which "default" takes off again
        image_token=IMAGE_TOKEN,
        chat_template=tokenizer.chat_template,
    )


def smooth_images(count: int, size: int, seed: int) -> Float[Tensor, "B 3 P P"]:
    """Random images of a few soft patches of colour, normalised as for DINOv2: something that is not noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 5, 5, generator=generator)
    images = functional.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=True)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (_MEAN, _STD))
    return (images - mean) / std


@torch.no_grad()
def scale_connector(model: LlavaForConditionalGeneration, seed: int) -> None:
    """Draws LLaVA's two-layer connector anew, in place.

    Normal weights and no biases; then the first matrix is scaled so that what enters the activation has root mean
    square 1, and the second so that what comes out has that of the token embeddings, both on 32 soft random images.
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
    images = smooth_images(_SAMPLES, tower.config.image_size, seed=0).to(rows.device, model.dtype)
    seen = tower(images, output_hidden_states=True).hidden_states[-1][:, 1:]
    connector.linear_1.weight.div_(_rms(connector.linear_1(seen)))
    # Through the module: Gemma multiplies its embeddings after looking them up.
    connector.linear_2.weight.mul_(_rms(embedding(rows)) / _rms(connector(seen)))


def _rms(values: Tensor) -> Tensor:
    return values.float().square().mean().sqrt()


def _require_same_text(model: LlavaForConditionalGeneration, text: LoadedModel) -> None:
    """Raises ModelError where, without an image, the new model's logits are not those of its language model."""
    vocabulary = text.anatomy.vocabulary_size
    ids = (torch.arange(1, 5, device=text.device) * (vocabulary // 6) % vocabulary)[None]
    with torch.no_grad():
        ours, theirs = model(input_ids=ids).logits, text.model(input_ids=ids).logits
    if not agree(ours[..., :vocabulary], theirs[..., :vocabulary]):  # there may be a new row for <image>
        raise ModelError(f"{text.name} does not give its own logits inside LLaVA; give a model such as Llama or Qwen.")


# An image-text model with its processor, opened from a folder or the hub, or a tiny random one.

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TINY = "tiny-picture-model"


@dataclass(frozen=True)
class ImageTextModel:
    """An image-text model in eval mode, what makes its inputs, and its parts."""

    model: PreTrainedModel
    processor: ProcessorMixin
    anatomy: VisionAnatomy
    name: str
    source: str

    @cached_property
    def fingerprint(self) -> str:
        """``fingerprint_of`` the model, of the weights at the first use."""
        return fingerprint_of(self.model)

    @cached_property
    def identity(self) -> str:
        """Sixteen hex digits of tensors, configuration, tokenizer and image processor, at the first use."""
        parts = (self.fingerprint, configuration_digest(self.model), processor_digest(self.processor))
        return joined_digest(parts)

    def facts(self) -> dict[str, str | int | float]:
        """Plain data for a record: what the model is and where it came from."""
        return {
            "name": self.name,
            "source": self.source,
            "fingerprint": self.fingerprint,
            "identity": self.identity,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "layers": self.anatomy.num_layers,
            "hidden": self.anatomy.hidden_size,
            "architecture": type(self.model).__name__,
            "dtype": str(self.model.dtype).removeprefix("torch."),
        }


def open_image_text_model(name: str, *, dtype: str = "float32") -> ImageTextModel:
    """The model of a folder, a hub id ("owner/name") or the name "tiny-picture-model", on the CPU.

    Only safetensors are read, and no code of a repository is run. ModelError for what is no image-text model or can't
    be opened, DownloadError where the hub can't be reached, UsageError for another dtype.
    """
    if dtype not in DTYPES:
        raise UsageError(f"dtype must be one of {', '.join(DTYPES)}; got {dtype!r}.")
    path = Path(name).expanduser()
    local = path.is_dir()
    if local:
        require_readable(path)
    elif name == TINY:
        return tiny_image_text_model()
    elif name.count("/") != 1 or not all(name.split("/")):
        raise ModelError(f"there is no folder {name!r}; give a folder that save_pretrained wrote, or a hub id.")
    else:
        path = hub_folder(name, online=reachable())
    try:
        with quiet():
            config = AutoConfig.from_pretrained(path, local_files_only=True)
            image_token_of(config, name)  # what can't be used is refused before its weights are read
            opened: Any = AutoModelForImageTextToText.from_pretrained(
                path, dtype=DTYPES[dtype], use_safetensors=True, output_loading_info=True, local_files_only=True
            )
            processor = AutoProcessor.from_pretrained(path, local_files_only=True)
    except ArmillaryError:
        raise
    except Exception as error:
        raise ModelError(f"{name} can't be opened as an image-text model: {reason(error)}.") from error
    refuse_gaps(opened[1], name)
    refuse_unread(opened[1], name)
    if not hasattr(processor, "image_processor"):
        raise ModelError(f"{name} has no image processor; save its processor (AutoProcessor) into the folder.")
    source = f"folder {path.name}" if local else f"model hub, {name}"
    model: PreTrainedModel = opened[0].eval()
    return ImageTextModel(model, processor, find_vision_anatomy(model), name, source)


def tiny_image_text_model(seed: int = 0) -> ImageTextModel:
    """A random LLaVA of two small layers with a real tokenizer; an image takes four tokens. No download."""
    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, image_size=28, patch_size=14
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tower = Dinov2Model(config).eval()
    model, processor = assemble_image_text_model(
        tiny(seed=seed), image_size=28, connector_seed=seed, tower=tower, vision_layers=2
    )
    return ImageTextModel(model, processor, find_vision_anatomy(model), TINY, f"random weights, seed {seed}")
