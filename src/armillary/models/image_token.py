"""A place for ``<image>`` in a tokenizer and a language model, without a larger vocabulary where that can be."""

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from armillary.models.quiet import quiet

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
    if known is not None and tokenizer.encode(IMAGE_TOKEN, add_special_tokens=False) == [known]:
        return copy.deepcopy(tokenizer), known
    spare = untrained_token(embedding.weight.detach(), tokenizer)
    if len(tokenizer) >= embedding.num_embeddings and spare is not None:
        return _renamed(tokenizer, spare), spare
    enlarged = copy.deepcopy(tokenizer)
    enlarged.add_tokens([AddedToken(IMAGE_TOKEN, special=True, normalized=False)], special_tokens=True)
    image_token_id = int(enlarged.get_vocab()[IMAGE_TOKEN])
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
