"""A small forward pass that shows how a model behaves: what follows its head, and whether it reads one way only."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from armillary.errors import ModelError
from armillary.models.quiet import reason

_RAMP = 60.0  # beyond every soft cap in use (30), so that a cap shows as a bend whatever the model's own logits are


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What passed through the head in one forward pass, and what the model made of it."""

    hidden: Tensor
    """The base's last hidden state, [2, t, d]; the two rows differ in the last token."""

    read: Tensor
    """What the head was given: the same, or a multiple of it."""

    raw: Tensor
    """What the head gave, [2, t, vocabulary]."""

    logits: Tensor
    """What the model returned."""

    ramp: Tensor
    """Known numbers put in the place of the head's output, [t, vocabulary]."""

    ramp_logits: Tensor
    """What the model made of them: only what stands after the head is left."""


def agree(guess: Tensor, truth: Tensor) -> bool:
    """True where the two are equal up to rounding in the model's dtype."""
    precision = 1e-5 if truth.dtype in (torch.float32, torch.float64) else 1e-2
    atol = precision * float(truth.abs().max().clamp(min=1.0))
    return guess.shape == truth.shape and bool(torch.allclose(guess.float(), truth.float(), atol=atol, rtol=0))


def refuse_encoder_decoder(config: object, name: str) -> None:
    """Raises ModelError where the configuration says encoder-decoder (T5, BART)."""
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"{name} is an encoder-decoder model; Armillary reads decoder-only models such as Llama, Gemma, Qwen, "
            "GPT-NeoX, GPT-2 and OPT."
        )


def config_numbers(config: object) -> tuple[list[float], list[float]]:
    """(factors, caps) that the configuration names for logits: ``logit_scale``, ``final_logit_softcapping``."""
    factors, caps = [], []
    for name, value in vars(config).items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0 or "attn" in name:
            continue
        if "cap" in name and "logit" in name:
            caps.append(float(value))
        elif ("scal" in name and "logit" in name) or name == "lm_head_multiplier":
            factors.append(float(value))
    return factors, caps


@contextmanager
def _quiet(model: nn.Module) -> Iterator[None]:
    """No gradient and no dropout inside; every module's own mode is put back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def observe(model: PreTrainedModel, head: nn.Module, base: nn.Module) -> Observation:
    """One pass through the model and one through its base, on three rows of four tokens: a text, the same with another
    last token, and one in whose place the head gives a ramp. ModelError where a pass fails, gives NaN, or
    looks ahead.
    """
    weight = cast(Tensor, head.weight)
    vocabulary = weight.shape[0]
    ids = ((torch.arange(1, 5, device=weight.device) * (vocabulary // 6) + 1) % vocabulary).repeat(3, 1)
    ids[1, -1] = 1 + ids[0, 0] // 2
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
    ramp = torch.linspace(-_RAMP, _RAMP, vocabulary, device=weight.device, dtype=weight.dtype).expand(4, -1)
    seen: list[Tensor] = []

    def replace(_: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> Tensor:
        seen.extend((given[0], out))
        return torch.cat([out[:2], ramp[None]])

    with _quiet(model):
        handle = head.register_forward_hook(replace)
        try:
            logits = model(**inputs).logits
            handle.remove()
            hidden = base(**inputs).last_hidden_state
            read, raw = seen
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise ModelError(f"{type(model).__name__} could not run four tokens ({reason(error)}).") from error
        finally:
            handle.remove()
    if not bool(torch.isfinite(hidden).all() and torch.isfinite(raw).all()):
        raise ModelError(
            f"{type(model).__name__} gives NaN or infinite values for four ordinary tokens: its weights are damaged, "
            "or too large for this dtype."
        )
    if not agree(hidden[1, :-1], hidden[0, :-1]):
        raise ModelError(
            f"{type(model).__name__} reads both ways (a later token changes an earlier state), so it is not a "
            "left-to-right language model; give a causal model."
        )
    return Observation(
        hidden=hidden[:2], read=read[:2], raw=raw[:2], logits=logits[:2], ramp=ramp, ramp_logits=logits[2]
    )
