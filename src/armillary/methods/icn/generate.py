"""Navigation inside ``model.generate``: a callable for its argument ``custom_generate``."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from armillary.errors import UsageError
from armillary.methods.icn.config import NavigationConfig
from armillary.methods.icn.navigator import Navigator
from armillary.methods.icn.result import Exploration
from armillary.methods.icn.templates import NUMBERED_LIST, Template
from armillary.models import load

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def icn_generate(
    tokenizer: "PreTrainedTokenizerBase",
    *,
    template: Template = NUMBERED_LIST,
    answers: int | None = None,
    per_round: int = 1,
    navigate: bool = True,
) -> Callable[..., Tensor]:
    """``model.generate(**inputs, max_new_tokens=16, custom_generate=icn_generate(tokenizer, answers=8))``.

    ``generate`` then gives int64 ``[batch * answers, length]``: each prompt followed by one of its answers, in the
    order found, padded at the right with the pad token. ``answers`` defaults to ``num_return_sequences`` (for more
    than one of which transformers wants ``do_sample=True``; answers are decoded greedily all the same). The prompt has
    to open its first item (end with ``1. "``): ``template.base(instruction)`` makes one. An answer ends with a token
    that holds the template's stop text, an end token, or after ``max_new_tokens``. With ``navigate=False`` and one
    answer this is greedy decoding up to the stop text. UsageError where beams or logits processors are asked for.

    The tokenizer is given here because ``generate`` does not hand its own argument of that name to a callable.
    """

    @torch.inference_mode()
    def decoding(
        model: "PreTrainedModel",
        input_ids: Tensor,
        logits_processor: Any = None,
        stopping_criteria: Any = None,
        generation_config: Any = None,
        **model_inputs: Any,
    ) -> Tensor:
        settings = generation_config or model.generation_config
        _refuse(settings, logits_processor)
        copies = int(settings.num_return_sequences or 1)  # transformers has repeated each prompt so often
        count = answers or copies
        if count % per_round:
            raise UsageError(f"{count} answers are not a multiple of per_round = {per_round}.")
        length = settings.max_new_tokens or (settings.max_length or 20) - input_ids.shape[1]
        config = NavigationConfig(
            rounds=count // per_round, per_round=per_round, max_new_tokens=max(1, int(length)), navigate=navigate
        )
        # Not an argument by name: transformers would hold it for ours alone and make another.
        mask = model_inputs.get("attention_mask")
        prompts = _prompts(input_ids[::copies], None if mask is None else mask[::copies])
        explored = Navigator(load((model, tokenizer)), template, config).continued_ids(prompts)
        return _sequences(input_ids[::copies], explored, count, _pad_token(settings, tokenizer))

    return decoding


def _refuse(settings: Any, logits_processor: Any) -> None:
    if (getattr(settings, "num_beams", 1) or 1) > 1:
        raise UsageError("Navigation decodes greedily and keeps no beams; pass num_beams=1.")
    # Where it samples, transformers adds the warpers of its defaults by itself: those are passed over.
    if logits_processor and not settings.do_sample:
        names = ", ".join(type(one).__name__ for one in logits_processor)
        raise UsageError(f"Navigation ranks the model's own logits and takes no logits processors; got {names}.")


def _prompts(input_ids: Tensor, attention_mask: Tensor | None) -> list[list[int]]:
    """The rows without their padding."""
    if attention_mask is None:
        return [list(map(int, row)) for row in input_ids.tolist()]
    pairs = zip(input_ids.tolist(), attention_mask.tolist(), strict=True)
    return [[int(token) for token, held in zip(row, mask, strict=True) if held] for row, mask in pairs]


def _pad_token(settings: Any, tokenizer: Any) -> int:
    for candidate in (settings.pad_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id):
        if isinstance(candidate, int):
            return candidate
    return 0


def _sequences(input_ids: Tensor, explored: list[Exploration], count: int, pad: int) -> Tensor:
    width = max((len(finding.tokens) for one in explored for finding in one.findings), default=0)
    rows = []
    for prompt, one in zip(input_ids.tolist(), explored, strict=True):
        answers = [list(finding.tokens) for finding in one.findings]
        answers += [[] for _ in range(count - len(answers))]
        rows += [prompt + answer + [pad] * (width - len(answer)) for answer in answers]
    return torch.tensor(rows, dtype=torch.long, device=input_ids.device)
