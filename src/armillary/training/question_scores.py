"""Which questions about pictures a model answers rightly.

A question with choices is right where its answer has the highest mean log-probability per token of all choices; one
without where greedy decoding gives exactly the answer and then ends, which one pass with the answer in place tells.

Shapes: B rows, T tokens, K last positions, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from armillary.data.picture_files import AskedPicture
from armillary.progress import track
from armillary.training.answer_loss import IGNORED
from armillary.training.question_rows import QuestionEncoder, Row

ROWS_AT_ONCE = 16


@dataclass(frozen=True)
class AnswerScore:
    """Of one answer behind one prompt."""

    mean: float
    """Mean log-probability of the answer's tokens in nats, the end token left out."""

    greedy: bool
    """Whether each token, the end token included, is the most probable one where it stands."""


def right_answers(
    model: nn.Module,
    encoder: QuestionEncoder,
    questions: Sequence[AskedPicture],
    *,
    rows_at_once: int = ROWS_AT_ONCE,
    label: str = "",
) -> list[float]:
    """1 for each question that is answered rightly, else 0, in order. Of equal choices the first counts.

    The model is read in evaluation mode and left in the mode it was in; its device is that of its parameters.
    """
    choices = [asked.choices or (asked.answer,) for asked in questions]
    scores = answer_scores(model, encoder, questions, choices, rows_at_once=rows_at_once, label=label)
    found = []
    for asked, known in zip(questions, scores, strict=True):
        if asked.choices is None:
            found.append(float(known[0].greedy))
        else:
            best = max(range(len(known)), key=lambda place: known[place].mean)
            found.append(float(asked.choices[best] == asked.answer))
    return found


def answer_scores(
    model: nn.Module,
    encoder: QuestionEncoder,
    questions: Sequence[AskedPicture],
    answers: Sequence[Sequence[str]],
    *,
    rows_at_once: int = ROWS_AT_ONCE,
    label: str = "",
) -> list[list[AnswerScore]]:
    """The score of each answer of each question."""
    training = model.training
    model.eval()
    found: list[list[AnswerScore]] = []
    waiting: list[Row] = []
    flat: list[AnswerScore] = []
    try:
        for asked, texts in track(list(zip(questions, answers, strict=True)), label):
            prompt = encoder.prompt_row(asked)
            waiting += [encoder.answered(prompt, encoder.answer_ids(text)) for text in texts]
            while len(waiting) >= rows_at_once:
                flat += _scored(model, encoder, waiting[:rows_at_once])
                del waiting[:rows_at_once]
        if waiting:
            flat += _scored(model, encoder, waiting)
    finally:
        model.train(training)
    place = 0
    for texts in answers:
        found.append(flat[place : place + len(texts)])
        place += len(texts)
    return found


@torch.inference_mode()
def _scored(model: nn.Module, encoder: QuestionEncoder, rows: Sequence[Row]) -> list[AnswerScore]:
    batch = encoder.collate(rows)
    labels_BT = batch.pop("labels")
    device = next(model.parameters()).device
    given = {name: value.to(device) for name, value in batch.items()}
    # The first position that must be read is the one before the first label; all behind it stand at the end.
    first = min(int((labels != IGNORED).nonzero()[0]) for labels in labels_BT)
    keep = labels_BT.shape[1] - first + 1
    logits_BKV = cast(Any, model)(**given, use_cache=False, logits_to_keep=keep).logits.float()
    logs_BKV = torch.log_softmax(logits_BKV[:, :-1], dim=-1).cpu()
    wanted_BK = labels_BT[:, first:]
    return [
        _one(logs_KV[wanted_K != IGNORED], wanted_K[wanted_K != IGNORED], len(encoder.end))
        for logs_KV, wanted_K in zip(logs_BKV, wanted_BK, strict=True)
    ]


def _one(logs_NV: Tensor, wanted_N: Tensor, ends: int) -> AnswerScore:
    own_N = logs_NV.gather(1, wanted_N[:, None])[:, 0].double()
    answer_N = own_N[: len(own_N) - ends]
    return AnswerScore(float(answer_N.mean()), bool((logs_NV.argmax(1) == wanted_N).all()))
