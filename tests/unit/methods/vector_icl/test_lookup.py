"""A language model that says the nearest label: two separable clusters whose means are mapped to two label words."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from armillary.methods.vector_icl.estimators import VectorICLClassifier
from armillary.methods.vector_icl.projector import Projector
from armillary.methods.vector_icl.prompts import text_ids
from armillary.models import LoadedModel
from armillary.models.anatomy import find_anatomy
from armillary.models.tiny_models import tiny_tokenizer

FADE = 0.5
"""Each token counts half of the next: what stands in the query outweighs all before it."""


class LookupConfig(PreTrainedConfig):
    model_type = "toy-lookup"


class LookupBody(nn.Module):
    """The last hidden state is the faded sum of the embeddings so far, which are one-hot."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(torch.eye(size))
        self.layers = nn.ModuleList([nn.Identity()])

    def forward(
        self,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        past_key_values: Cache | None = None,
        **_: Any,
    ) -> BaseModelOutputWithPast:
        held_BTD = self.embedding(input_ids) if inputs_embeds is None else inputs_embeds
        new = held_BTD.shape[1]
        if past_key_values is not None:
            held_BTD = past_key_values.update(held_BTD[:, None], held_BTD[:, None], 0)[0][:, 0]
        place_T = torch.arange(held_BTD.shape[1])
        gap = place_T[-new:, None] - place_T[None, :]
        weight = torch.where(gap >= 0, FADE ** gap.clamp_min(0), 0.0)
        return BaseModelOutputWithPast(last_hidden_state=weight @ held_BTD, past_key_values=past_key_values)


class LookupModel(PreTrainedModel):
    config_class = LookupConfig
    base_model_prefix = "body"

    def __init__(self, config: LookupConfig) -> None:
        super().__init__(config)
        self.body = LookupBody(config.vocab_size)
        self.head = nn.Linear(config.vocab_size, config.vocab_size, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.eye(config.vocab_size))

    def get_input_embeddings(self) -> nn.Module:
        return self.body.embedding

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def forward(self, input_ids: Tensor | None = None, **inputs: Any) -> CausalLMOutputWithPast:
        return CausalLMOutputWithPast(logits=self.head(self.body(input_ids, **inputs).last_hidden_state))


def test_clusters_mapped_to_label_words_are_told_apart() -> None:
    tokenizer = tiny_tokenizer()
    size = len(tokenizer)
    config = LookupConfig(vocab_size=size, hidden_size=size, num_hidden_layers=1, max_position_embeddings=512)
    model = LookupModel(config).eval()
    loaded = LoadedModel(model, tokenizer, find_anatomy(model), "toy", "closed form")
    random = np.random.RandomState(0)
    y = np.arange(20) % 2
    X = np.eye(2)[y] + 0.05 * random.randn(20, 2)
    words = {0: "red", 1: "green"}
    [first], [second] = (text_ids(loaded, f" {word}") for word in words.values())
    projector = Projector(2, size)
    with torch.no_grad():
        projector.into.weight.zero_()
        projector.into.weight[first, 0] = projector.into.weight[second, 1] = 1.0
    fitted = VectorICLClassifier(loaded, projector=projector, words=words, shots=1, tune=False).fit(X, y)
    assert fitted.score(X, y) == 1.0
    swapped = VectorICLClassifier(loaded, projector=projector, words={0: "green", 1: "red"}, shots=1, tune=False)
    assert swapped.fit(X, y).score(X, y) == 0.0
