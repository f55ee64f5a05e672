"""A small forward pass that shows how a model behaves: what follows its head, and whether it reads one way only."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from armillary.errors import ModelError

_RAMP = 60.0  # beyond every soft cap in use (30), so that a cap shows as a bend whatever the model's own logits are


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What the model answered, next to what its head alone gives."""

    raw: Tensor
    """The head on the base's last hidden state, [1, t, vocabulary]."""

    logits: Tensor
    """The model's logits for the same tokens."""

    ramp: Tensor
    """Known numbers put in the place of the head's output."""

    ramp_logits: Tensor
    """What the model made of them: only what stands after the head is left."""

    def agrees(self, guess: Tensor, truth: Tensor) -> bool:
        """True where the two are equal up to rounding in the model's dtype."""
        precision = 1e-5 if truth.dtype in (torch.float32, torch.float64) else 1e-2
        atol = precision * float(truth.abs().max().clamp(min=1.0))
        return guess.shape == truth.shape and bool(torch.allclose(guess.float(), truth.float(), atol=atol, rtol=0))


def refuse_unsuitable(model: PreTrainedModel) -> None:
    """Raises ModelError, naming the class, for a model that is not a decoder-only language model."""
    refuse_encoder_decoder(model.config, type(model).__name__)


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
    width, base_width = getattr(config, "hidden_size", 0), getattr(config, "dim_model_base", None)
    if base_width:
        factors.append(width / base_width)
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
    """Four short forward passes; ModelError where they fail or where a later token changes an earlier state."""
    weight = cast(Tensor, head.weight)
    vocabulary = weight.shape[0]
    ids = (torch.arange(1, 5, device=model.device) * (vocabulary // 6) + 1).unsqueeze(0) % vocabulary
    inputs = {"attention_mask": torch.ones_like(ids), "use_cache": False}
    ramp = torch.linspace(-_RAMP, _RAMP, vocabulary, device=weight.device, dtype=weight.dtype).expand(1, 4, -1)
    other = ids.clone()
    other[0, -1] = 1 + ids[0, 0] // 2
    with _quiet(model):
        try:
            hidden = base(input_ids=ids, **inputs).last_hidden_state
            changed = base(input_ids=other, **inputs).last_hidden_state
            logits = model(input_ids=ids, **inputs).logits
            raw = head(hidden)
            handle = head.register_forward_hook(lambda *_: ramp)
            try:
                ramp_logits = model(input_ids=ids, **inputs).logits
            finally:
                handle.remove()
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"{type(model).__name__} could not run four tokens: {reason}.") from error
    seen = Observation(raw=raw, logits=logits, ramp=ramp, ramp_logits=ramp_logits)
    if not seen.agrees(changed[:, :-1], hidden[:, :-1]):
        raise ModelError(
            f"{type(model).__name__} reads both ways (a later token changes an earlier state), so it is not a "
            "left-to-right language model; give a causal model."
        )
    return seen
