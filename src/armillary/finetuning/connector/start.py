"""A connector's start without the language model: image states become embeddings of words that are true of the image.

The mean of the connector's outputs for an image is to be nearer to the embedding of its own name and keywords
than to those of other images, and nearest to its own group, style and colour among all: contrastive, as CLIP learns
(arXiv 2103.00020), against the frozen embeddings of the language model. [derived] Words, weights and settings are
ours. Seconds of work, since no layer of the language model is read.

Shapes: E emoji, S styles, I images of a batch, N states of an image, v width of the tower, d width of the model.
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlavaForConditionalGeneration

from armillary.data.images.questions import COLOURS, dominant_colour, group_word
from armillary.models.prompts import bare_ids
from armillary.models.vision import find_vision_anatomy
from armillary.progress import counted
from armillary.training.image_rows import ImageRows

_AT_ONCE = 128
_RATE, _DROPPED, _DECAY, _TEMPERATURE = 1e-3, 0.4, 1e-2, 0.07
_KEYWORDS = 4
_NAME_WEIGHT = 2.0


def start_connector(model: LlavaForConditionalGeneration, rows: ImageRows, steps: int, seed: int) -> None:
    """Trains the connector, in place, on the images of the training split; ``rows`` with stored states.

    Its output ends with the root mean square of the language model's embeddings. On the CPU.
    """
    assert rows.states is not None
    connector, emoji = cast(Any, find_vision_anatomy(model).connector), rows.emoji
    device, dtype = connector.linear_1.weight.device, connector.linear_1.weight.dtype
    connector.to("cpu", torch.float32)
    generator = torch.Generator().manual_seed(seed)
    chosen = list(emoji.split("train"))
    states_ESNv = torch.from_numpy(rows.states[chosen][:, :, -rows.image_tokens :])
    middle_v = states_ESNv.mean((0, 1, 2), dtype=torch.float32)
    spread_v = states_ESNv[:, 0].float().std((0, 1)) + 1e-3
    names_Ed = own_words(model, rows)[chosen]
    words = [(table, labels[chosen]) for table, labels in _attributes(model, rows)]
    with (
        torch.no_grad()
    ):  # drawn for states as they are; what it learns from here on has the same spread in each channel
        connector.linear_1.weight.copy_(torch.randn(connector.linear_1.weight.shape, generator=generator))
        connector.linear_1.weight.div_(connector.linear_1.in_features**0.5)
    optimiser = torch.optim.AdamW(connector.parameters(), lr=_RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, steps)
    styles = len(emoji.styles)
    with counted("Starting the connector", steps) as bar:
        for _ in range(steps):
            image_I = torch.randint(len(chosen) * styles, (_AT_ONCE,), generator=generator)
            emoji_I, style_I = image_I // styles, image_I % styles
            seen_INv = (states_ESNv[emoji_I, style_I].float() - middle_v) / spread_v
            hidden_INd = connector.act(connector.linear_1(_thinned(seen_INv, generator)))
            made_Id = connector.linear_2(_thinned(hidden_INd, generator)).mean(1)
            own_E, right_I = torch.unique(emoji_I, return_inverse=True)
            loss = _nearest(made_Id, names_Ed[own_E], right_I)
            for table_Wd, labels_ES in words:
                loss = loss + _nearest(made_Id, table_Wd, labels_ES[emoji_I, style_I])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            bar.advance()
    optimiser.zero_grad()
    with torch.no_grad():
        connector.linear_1.weight.div_(spread_v)
        connector.linear_1.bias.sub_(connector.linear_1.weight @ middle_v)
        embedding = cast(Any, model.get_input_embeddings()).weight.float()
        made = connector(states_ESNv[:, 0].float())  # [E, N, d]
        factor = (embedding.square().mean().cpu() / made.square().mean()).sqrt()
        connector.linear_2.weight.mul_(factor)
        connector.linear_2.bias.mul_(factor)
    connector.to(device, dtype)


def _thinned(values: Tensor, generator: torch.Generator) -> Tensor:
    kept = torch.rand(values.shape, generator=generator) >= _DROPPED
    return values * kept / (1 - _DROPPED)


def _nearest(made_Id: Tensor, words_Wd: Tensor, right_I: Tensor) -> Tensor:
    """Cross-entropy of the right word by cosine; a label of -1 counts for nothing."""
    cosine_IW = functional.normalize(made_Id, dim=-1) @ functional.normalize(words_Wd, dim=-1).T
    return functional.cross_entropy(cosine_IW / _TEMPERATURE, right_I, ignore_index=-1)


def own_words(model: LlavaForConditionalGeneration, rows: ImageRows) -> Tensor:
    """``[E, d]``: twice the embedding of a name and that of its keywords, less the mean over all emoji."""
    embeddings = []
    for label in rows.emoji.labels:
        words = _embedded(model, rows, [label.label.lower(), *label.tags[:_KEYWORDS]])
        embeddings.append(_NAME_WEIGHT * words[0] + (words[1:] if len(words) > 1 else words).mean(0))
    stacked = torch.stack(embeddings)
    return stacked - stacked.mean(0)


def _attributes(model: LlavaForConditionalGeneration, rows: ImageRows) -> list[tuple[Tensor, Tensor]]:
    """Of group, style and colour the words' embeddings ``[W, d]``, less their mean, and each image's ``[E, S]``."""
    emoji = rows.emoji
    shape = (len(emoji), len(emoji.styles))
    groups = [emoji.groups.index(label.group) for label in emoji.labels]
    known: dict[Any, int] = {None: -1, **{colour: number for number, colour in enumerate(COLOURS)}}
    colours = [[known[dominant_colour(image)] for image in of_emoji] for of_emoji in emoji.images]
    tables: list[tuple[list[str], Tensor]] = [
        ([group_word(group) for group in emoji.groups], torch.tensor(groups)[:, None].expand(shape)),
        (list(emoji.styles), torch.arange(shape[1])[None].expand(shape)),
        (list(COLOURS), torch.tensor(colours)),
    ]
    embedded = [(_embedded(model, rows, words), labels) for words, labels in tables]
    return [(table - table.mean(0), labels) for table, labels in embedded]


def _embedded(model: LlavaForConditionalGeneration, rows: ImageRows, words: list[str]) -> Tensor:
    """``[W, d]``: the mean embedding of each word's tokens."""
    weight = cast(Any, model.get_input_embeddings()).weight
    ids = bare_ids(rows.processor.tokenizer, [f" {word}" for word in words])
    return torch.stack([weight[torch.tensor(tokens)].detach().float().mean(0).cpu() for tokens in ids])
