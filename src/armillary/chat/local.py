"""A model of one's own as a chat model: a packaged one, a folder, a .gguf file or a hub id."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from armillary.chat.answer_cache import AnswerCache
from armillary.chat.chat_model import ChatModel, ChatSettings, Completion, Message, TokenCount, checked_messages
from armillary.errors import NumericError, UsageError
from armillary.records.plain import digest

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from armillary.models import LoadedModel


class LocalChat(ChatModel):
    """Asks an opened model in its own chat template, batched; greedy at temperature 0, else drawn by the seed."""

    def __init__(self, model: "LoadedModel | str", *, batch_size: int = 8, cache: Path | str | None = None) -> None:
        """``model`` is opened, or a name for ``models.load``. ``cache`` keeps answers under the model's identity.

        Raises:
            UsageError: ``batch_size`` is below 1.
            ModelError: the model can't be opened, or has no chat template.
        """
        from armillary.models import load

        if batch_size < 1:
            raise UsageError(f"batch_size must be 1 or more, got {batch_size}.")
        self.model = load(model) if isinstance(model, str) else model
        self.batch_size = batch_size
        self._cache = None if cache is None else AnswerCache(cache)
        self._tokens = TokenCount()

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.name

    @property
    def tokens(self) -> TokenCount:
        """Tokens of the answers made so far."""
        return self._tokens

    def complete_all(
        self,
        conversations: Sequence[Sequence[Message]],
        settings: ChatSettings = ChatSettings(),
    ) -> list[Completion]:
        """The answers, in order. An answer does not depend on which others are asked for, up to rounding.

        Raises:
            UsageError: a conversation is none.
            ModelError: the model has no chat template, it fails, or the model has no key-value cache.
            NumericError: the model gives logits that are not finite.
        """
        checked = [checked_messages(messages) for messages in conversations]
        kept = self.model.identity
        completions = [self._cache.get(kept, messages, settings) if self._cache else None for messages in checked]
        missing = [index for index, completion in enumerate(completions) if completion is None]
        for start in range(0, len(missing), self.batch_size):
            batch = missing[start : start + self.batch_size]
            for index, completion in zip(batch, self._made([checked[i] for i in batch], settings), strict=True):
                completions[index] = completion
                if self._cache is not None:
                    self._cache.put(kept, checked[index], settings, completion)
        answers = [completion for completion in completions if completion is not None]
        for completion in answers:
            self._tokens = self._tokens.plus(completion)
        return answers

    def _made(self, conversations: Sequence[Sequence[Message]], settings: ChatSettings) -> list[Completion]:
        """One batch: the prompts read together, the answers grown together, each by random numbers of its own."""
        import torch

        from armillary.models.prompts import prompt_rows, templated
        from armillary.scoring.decoding import CachedPrompts, end_tokens

        model = self.model
        rows = prompt_rows(
            model,
            [
                templated(
                    model.tokenizer, [{"role": turn["role"], "content": turn["content"]} for turn in turns], model.name
                )
                for turns in conversations
            ],
        )
        seeds = [int(digest([settings.seed, row])[:15], 16) for row in rows]
        uniforms_BT = torch.stack([
            torch.rand(settings.max_tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            for seed in seeds
        ]).to(model.device)  # fmt: skip
        stops = torch.tensor(end_tokens(model), dtype=torch.long, device=model.device)
        answers: list[list[int]] = [[] for _ in rows]
        with torch.inference_mode():
            prompts = CachedPrompts(model)
            growing = prompts.decoding([*range(len(rows))], prompts.read(rows), stops)
            for step in range(settings.max_tokens):
                logits_BV = model.masked(model.anatomy.logits(growing.hidden_BD)).float()
                if not bool(torch.isfinite(logits_BV.amax(dim=-1)).all()):
                    raise NumericError(f"{model.name} gave NaN or infinite logits while answering.")
                token_B = next_tokens(logits_BV, uniforms_BT[growing.held, step], settings)
                for index, alive, token in zip(
                    growing.held.tolist(), growing.alive.tolist(), token_B.tolist(), strict=True
                ):
                    if alive:
                        answers[index].append(token)
                if step + 1 == settings.max_tokens or not growing.advance(token_B):
                    break
        ends = {*stops.tolist()}
        return [
            Completion(
                text=str(model.tokenizer.decode(answer, skip_special_tokens=True)), prompt_tokens=len(row),
                completion_tokens=len(answer), ended=answer[-1] in ends,
            )
            for row, answer in zip(rows, answers, strict=True)
        ]  # fmt: skip


def next_tokens(
    logits_BV: "Float[Tensor, 'b v']", uniform_B: "Float[Tensor, 'b']", settings: ChatSettings
) -> "Int[Tensor, 'b']":
    """The likeliest token of each row at temperature 0; else one drawn among the likeliest that have ``top_p``.

    The logits are overwritten.
    """
    from armillary.scoring.sampling import draw, nucleus_

    if settings.temperature == 0:
        return logits_BV.argmax(dim=-1)
    if settings.top_p < 1:
        logits_BV = nucleus_(logits_BV, settings.top_p, settings.temperature)
    return draw(logits_BV, uniform_B, settings.temperature)[0]
