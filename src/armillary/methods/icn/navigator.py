"""In-context navigation: put what was explored into the context, and ask for the next.

Of each round the official code keeps only the ranking of first tokens: an answer is continued from the prompt without
the list. Both prompts are read once and grow on their caches; the branches of a round are decoded together.

Shapes: Q instructions of a batch, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import Tensor

from armillary.errors import UsageError
from armillary.methods.icn.config import NavigationConfig, check_room
from armillary.methods.icn.result import Answer, Exploration, first_occurrences
from armillary.methods.icn.templates import NUMBERED_LIST, FirstTokens, ListTemplate, opened_prompt
from armillary.models import LoadedModel, load
from armillary.models.batches import encode
from armillary.models.prompts import continuation_ids, unended
from armillary.progress import track
from armillary.runs.settings import changed
from armillary.scoring import CachedPrompts, greedy
from armillary.scoring.decoding import few_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Keep = Callable[[str], bool]
"""Whether an explored answer may stand in the context."""


class Navigator:
    """Explores many answers to an instruction without repeating itself."""

    def __init__(
        self,
        loaded: LoadedModel,
        template: ListTemplate = NUMBERED_LIST,
        config: NavigationConfig | None = None,
        *,
        keep: Keep | None = None,
        **settings: Any,
    ) -> None:
        """``settings`` are fields of ``NavigationConfig``; ``keep`` (ours) leaves answers out of the context.

        UsageError for a setting that does not exist or is out of range.
        """
        self.config = changed(config or NavigationConfig(), settings, "Navigation")
        self.loaded, self.template, self.keep = loaded, template, keep
        self.first = FirstTokens(loaded, template.stop, normalised=self.config.explored_by == "normalised")

    @overload
    def explore(self, instructions: str) -> Exploration: ...

    @overload
    def explore(self, instructions: list[str] | tuple[str, ...]) -> list[Exploration]: ...

    def explore(self, instructions: str | list[str] | tuple[str, ...]) -> Exploration | list[Exploration]:
        """An ``Exploration`` for each instruction; for a single text one ``Exploration``."""
        if isinstance(instructions, str):
            return self.explore([instructions])[0]
        chat = self.config.chat_template
        bases = [opened_prompt(self.loaded, self.template, instruction, chat=chat) for instruction in instructions]
        return self.continued(bases, instructions)

    def continued(self, bases: Sequence[str], names: Sequence[str] | None = None) -> list[Exploration]:
        """The same from prompts that already open their first item, such as a chat template makes.

        UsageError for an empty prompt, or where the list could outgrow the model's positions (says how many fit).
        """
        if not bases or any(not base.strip() for base in bases):
            raise UsageError("The prompt is empty; say what to list or solve.")
        return self.continued_ids(encode(self.loaded, bases), names or bases)

    def continued_ids(self, rows: Sequence[Sequence[int]], names: Sequence[str] | None = None) -> list[Exploration]:
        """The same from the tokens of such prompts."""
        names = names or [str(self.loaded.tokenizer.decode(list(row))) for row in rows]
        positions = self.loaded.max_positions
        if positions:
            marks = self.template.closing + self.template.opened(self.config.budget)
            check_room(self.config, positions, max(map(len, rows)), len(continuation_ids(self.loaded, marks)))
        size = self.config.batch_size
        starts = range(0, len(rows), size)
        explored: list[Exploration] = []
        for start in track(starts, "exploring answers", len(starts)):
            explored += _Batch(self, rows[start : start + size], names[start : start + size]).run()
        return explored


class _Batch:
    """Some instructions that go through the rounds together."""

    def __init__(self, navigator: Navigator, bases: Sequence[Sequence[int]], names: Sequence[str]) -> None:
        self.navigator, self.bases, self.names = navigator, [list(row) for row in bases], names
        self.config, self.template, self.first = navigator.config, navigator.template, navigator.first
        self.explored: list[set[str]] = [set() for _ in bases]
        self.answers: list[list[Answer]] = [[] for _ in bases]
        self.invalid = [0] * len(bases)

    @torch.inference_mode()
    def run(self) -> list[Exploration]:
        loaded = self.navigator.loaded
        base = CachedPrompts(loaded)
        base_hidden_QD = base.read(self.bases)
        # A copy, so that the list's beginning is not read again.
        navigated = base.copy() if self.config.navigate else base
        hidden_QD = base_hidden_QD
        for round in range(self.config.rounds):
            if round and self.config.navigate:
                hidden_QD = navigated.read([self._prompt(index) for index in range(len(self.bases))])
            source, at = (base, base_hidden_QD) if self.config.continue_from == "base" else (navigated, hidden_QD)
            if not self._round(round, hidden_QD, source, at):
                break
        read = base.computed + (navigated.computed if navigated is not base else 0)
        return [self._exploration(index, read) for index in range(len(self.bases))]

    def _prompt(self, index: int) -> list[int]:
        """The tokens of the base prompt, then those of the list: the base's tokens never change."""
        keep = self.navigator.keep or (lambda _answer: True)
        listed = [answer.text for answer in self.answers[index] if answer.text.strip() and keep(answer.text)]
        listed = listed[-self.config.last :] if self.config.last else listed
        return self.bases[index] + continuation_ids(self.navigator.loaded, self.template.listed("", listed))

    def _round(self, round: int, hidden_QD: Tensor, source: CachedPrompts, at_QD: Tensor) -> bool:
        """Choose first tokens by the ranking at ``hidden``, decode them from ``source``; False where none was left."""
        loaded = self.navigator.loaded
        with few_rows(loaded.anatomy.head):
            logits_QV = loaded.masked(loaded.anatomy.logits(hidden_QD).float())
        normaliser_Q = logits_QV.logsumexp(dim=-1)
        owners: list[int] = []
        chosen: list[tuple[int, int]] = []
        for index, logits_V in enumerate(logits_QV):
            tokens, ranks, invalid = self.first.best(
                logits_V, self.config.per_round, self.explored[index], self.config.pool
            )
            self.invalid[index] += invalid
            owners += [index] * len(tokens)
            chosen += list(zip(tokens, ranks, strict=True))
        branches = greedy(
            source,
            at_QD,
            owners,
            [token for token, _ in chosen],
            max_new_tokens=self.config.max_new_tokens,
            stop_ids=self.first.stop_ids,
        )
        for owner, (token, rank), branch in zip(owners, chosen, branches, strict=True):
            logit = float(logits_QV[owner, token])
            decoded = str(loaded.tokenizer.decode(branch, skip_special_tokens=True))
            text = decoded.split(self.template.stop)[0]
            self.answers[owner].append(
                Answer(
                    text=text.strip() if self.template.one_line else text.rstrip(),
                    token=token,
                    tokens=tuple(branch),
                    token_text=self.first.string(token),
                    rank=rank,
                    round=round,
                    logit=logit,
                    logprob=logit - float(normaliser_Q[owner]),
                    complete=branch[-1] in self.first.stop_ids,
                    duplicate_of=None,
                )
            )
        return bool(owners)

    def _exploration(self, index: int, read: int) -> Exploration:
        answers = self.answers[index]
        occurrences = first_occurrences([answer.text for answer in answers])
        return Exploration(
            instruction=self.names[index],
            answers=tuple(
                replace(answer, duplicate_of=first) for answer, first in zip(answers, occurrences, strict=True)
            ),
            invalid=self.invalid[index],
            read_tokens=read,
        )


def icn_generate(
    tokenizer: "PreTrainedTokenizerBase",
    *,
    template: ListTemplate = NUMBERED_LIST,
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
        rows = input_ids[::copies]
        # Not an argument by name: transformers would hold it for ours alone and make another.
        mask = model_inputs.get("attention_mask")
        held = torch.ones_like(rows) if mask is None else mask[::copies]
        prompts = [unended(tokenizer, row[kept.bool()].tolist()) for row, kept in zip(rows, held, strict=True)]
        explored = Navigator(load((model, tokenizer)), template, config).continued_ids(prompts)
        pads = (settings.pad_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id)
        return _sequences(rows, explored, count, next((pad for pad in pads if isinstance(pad, int)), 0))

    return decoding


def _refuse(settings: Any, logits_processor: Any) -> None:
    if (getattr(settings, "num_beams", 1) or 1) > 1:
        raise UsageError("Navigation decodes greedily and keeps no beams; pass num_beams=1.")
    # Where it samples, transformers adds the warpers of its defaults by itself: those are passed over.
    if logits_processor and not settings.do_sample:
        names = ", ".join(type(processor).__name__ for processor in logits_processor)
        raise UsageError(f"Navigation ranks the model's own logits and takes no logits processors; got {names}.")


def _sequences(input_ids: Tensor, explored: list[Exploration], count: int, pad: int) -> Tensor:
    """``[batch * count, length]``: each prompt with each of its answers, short of answers with padding alone."""
    width = max((len(answer.tokens) for exploration in explored for answer in exploration.answers), default=0)
    rows = []
    for prompt, exploration in zip(input_ids.tolist(), explored, strict=True):
        answers = [list(answer.tokens) for answer in exploration.answers]
        answers += [[] for _ in range(count - len(answers))]
        rows += [prompt + answer + [pad] * (width - len(answer)) for answer in answers]
    return torch.tensor(rows, dtype=torch.long, device=input_ids.device)
