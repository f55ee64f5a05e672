"""The models that orders are compared on: a small decoder from scratch, or one that is given."""

from collections.abc import Callable
from dataclasses import replace

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from armillary.methods.ordering.training.config import DecoderShape
from armillary.methods.ordering.training.rows import END, PAD, SPECIAL, WorldTokens
from armillary.models.loaded import LoadedModel
from armillary.models.loading import load

TEXT_TOKENS = 2000
"""Of a tokenizer that is trained on a user's steps: a table of 2,000 rows is no more than a layer of a small model."""


def world_tokenizer(known: WorldTokens) -> PreTrainedTokenizerBase:
    """One token a symbol, with blanks between them, so that a saved model can be opened and asked."""
    table = {name: place for place, name in enumerate(known.names)}
    tokenizer = Tokenizer(models.WordLevel(table, unk_token=SPECIAL[PAD]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=SPECIAL[PAD], eos_token=SPECIAL[END])


def text_tokenizer(texts: list[str], size: int = TEXT_TOKENS) -> PreTrainedTokenizerBase:
    """Bytes and the commonest pairs of these texts (byte-level BPE); the same for the same texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[*SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=SPECIAL[PAD], eos_token=SPECIAL[END])


def small_decoder(
    tokenizer: PreTrainedTokenizerBase, shape: DecoderShape, *, seed: int, device: str | None = None
) -> LoadedModel:
    """Llama's decoder at this size with random weights, the same for the same seed.

    Rotary positions, tied embeddings; about 0.35 M parameters at the default shape. ``device`` as for ``load``. The
    global random generator is left as it was.
    """
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        # Three matrices of 8/3 of the width have as many weights as two of four times the width.
        intermediate_size=8 * shape.width // 3,
        max_position_embeddings=shape.positions,
        tie_word_embeddings=True,
        # Half a standard deviation of a row's entries: small beside what layers add, and logits begin near 0.
        initializer_range=0.5 * shape.width**-0.5,
        pad_token_id=PAD,
        bos_token_id=None,
        eos_token_id=END,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    source = f"random weights, seed {seed}, {shape.layers} layers of width {shape.width}"
    return replace(load((model, tokenizer), device=device), name="small decoder", source=source)


def restarted(loaded: LoadedModel) -> Callable[[int], LoadedModel]:
    """Gives the model with the weights that it has now, whatever it learns in between; the same for every seed."""
    kept = {name: weight.detach().cpu().clone() for name, weight in loaded.model.state_dict().items()}

    def start(seed: int) -> LoadedModel:
        loaded.model.load_state_dict(kept)
        return replace(loaded)  # anew: the fingerprint that is kept with the old one is no longer true

    return start
