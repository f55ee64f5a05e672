"""A language model in closed form: after a list, its query is a mean minus what the listed answers have in common.

Keys of C clusters are orthogonal centres plus noise; the query after an open item is ``sum_c w_c centre_c - alpha *
sum of the centres of the answers in the context``, and after an answer it points at the quotation mark. So the static
ranking walks through cluster 0 first, while navigation meets a new cluster in every round.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from armillary.models import LoadedModel
from armillary.models.anatomy import find_anatomy
from armillary.models.tiny_models import tiny_tokenizer

CLUSTERS, MEMBERS = 4, 6
LETTERS = "BCDEFGHIJKLMNOQRSTUVWXYZ"
"""The answers: single tokens that stand in no prompt of the tests (which have no other capitals than A and P)."""


class ToyConfig(PreTrainedConfig):
    model_type = "toy-navigator"


class ToyBase(nn.Module):
    """Reads tokens into a sum over the past, kept in an ordinary key-value cache."""

    def __init__(self, embedding: nn.Embedding, mean_D: Tensor, stop_D: Tensor, answers: Tensor, alpha: float) -> None:
        super().__init__()
        self.embedding, self.alpha = embedding, alpha
        self.layers = nn.ModuleList([nn.Identity()])
        self.register_buffer("mean_D", mean_D)
        self.register_buffer("stop_D", stop_D)
        self.register_buffer("answers_V", answers)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        **_: Any,
    ) -> BaseModelOutputWithPast:
        held_BTD = self.embedding(input_ids)
        if past_key_values is not None:
            held_BTD = past_key_values.update(held_BTD[:, None], held_BTD[:, None], 0)[0][:, 0]
        if attention_mask is not None:
            held_BTD = held_BTD * attention_mask[:, : held_BTD.shape[1], None]
        listed_BTD = held_BTD.cumsum(1)[:, -input_ids.shape[1] :]
        query_BTD = self.mean_D - self.alpha * listed_BTD
        answered_BT = self.answers_V[input_ids]
        return BaseModelOutputWithPast(
            last_hidden_state=torch.where(answered_BT[..., None], self.stop_D, query_BTD),
            past_key_values=past_key_values,
        )


class ToyModel(PreTrainedModel, GenerationMixin):
    config_class = ToyConfig
    base_model_prefix = "body"

    def __init__(self, config: ToyConfig, body: ToyBase, head: nn.Linear) -> None:
        super().__init__(config)
        self.body, self.head = body, head

    def get_input_embeddings(self) -> nn.Module:
        return self.body.embedding

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def forward(self, input_ids: Tensor, logits_to_keep: int = 0, **inputs: Any) -> CausalLMOutputWithPast:
        out = self.body(input_ids, **inputs)
        return CausalLMOutputWithPast(
            logits=self.head(out.last_hidden_state[:, -logits_to_keep:]), past_key_values=out.past_key_values
        )


def toy(alpha: float = 4.0, seed: int = 0) -> tuple[LoadedModel, list[list[int]]]:
    """The model, and the token ids of each cluster, best first by the static ranking."""
    tokenizer = tiny_tokenizer()
    generator = torch.Generator().manual_seed(seed)
    size, width = len(tokenizer), CLUSTERS + 2
    candidates = [tokenizer.convert_tokens_to_ids(letter) for letter in LETTERS]
    members = [candidates[cluster * MEMBERS : (cluster + 1) * MEMBERS] for cluster in range(CLUSTERS)]
    keys_VD = torch.zeros(size, width)
    embedding_VD = torch.zeros(size, width)
    for cluster, tokens in enumerate(members):
        for token in tokens:
            keys_VD[token, cluster] = 10 + 0.1 * float(torch.randn((), generator=generator))
            embedding_VD[token, cluster] = 1.0
    stop = tokenizer.convert_tokens_to_ids('"')
    keys_VD[stop, CLUSTERS] = 10.0
    mean_D = torch.zeros(width)
    mean_D[:CLUSTERS] = 3.0 - 0.5 * torch.arange(CLUSTERS)
    stop_D = torch.zeros(width)
    stop_D[CLUSTERS] = 5.0
    answers_V = torch.zeros(size, dtype=torch.bool)
    answers_V[[token for tokens in members for token in tokens]] = True
    embedding, head = nn.Embedding(size, width), nn.Linear(width, size, bias=False)
    with torch.no_grad():
        embedding.weight.copy_(embedding_VD)
        head.weight.copy_(keys_VD)
    config = ToyConfig(vocab_size=size, hidden_size=width, num_hidden_layers=1, max_position_embeddings=4096)
    model = ToyModel(config, ToyBase(embedding, mean_D, stop_D, answers_V, alpha), head).eval()
    loaded = LoadedModel(model, tokenizer, find_anatomy(model), "toy", "closed form")
    ranked = [sorted(tokens, key=lambda token: -float(keys_VD[token].max())) for tokens in members]
    return loaded, ranked
