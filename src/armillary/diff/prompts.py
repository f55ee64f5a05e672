"""What two models are asked and given to read: a user's own rows, or the set that is packaged with the library.

The packaged prompts and texts were written for this project; they stand in ``packaged/`` in the form in which a user
gives their own, each with its tag: the capability or language that a change in it would tell of.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from transformers import PreTrainedTokenizerBase

from armillary.data.rows import list_of, read_rows, text_of, turns_of
from armillary.data.tables import listed_names
from armillary.errors import UsageError
from armillary.files import paragraphs, read_text
from armillary.models.prompts import templated

UNTAGGED = "prompts"
"""Tag of rows that come without one."""

LEAST_TEXTS = 6
"""Texts of a group from which a change of it can be told: with fewer, turned signs alone never give p below 0.05
(2 in 2 ** 5)."""

PIECE, LEAST_PIECE = 600, 100
"""Characters of a piece of a file with too few paragraphs, and of the shortest that is kept: about 150 tokens."""

REFUSING = ("I'm sorry", "I can't", "I cannot", "I won't")
HELPING = ("Sure", "To", "Here", "The", "You")
"""Beginnings of an answer that refuses and of one that helps, to requests in English: those that chat models use
most, of one to three tokens, so that none is unlikely for its length alone."""

FIELDS = "prompt or messages, and if wanted answer, choices, tag, id and refusal"
COLUMNS = ("id", "prompt", "messages", "answer", "choices", "tag", "refusal")
"""Names of a table's columns; others are left unread."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One request, as text or as the turns of a conversation, with what is known about its answer."""

    id: str
    """Unique among the prompts of a source."""

    text: str | None = None
    """The request of a user; None where ``messages`` are given."""

    messages: list[dict[str, str]] | None = None
    """Turns with "role" and "content", the last one not the model's."""

    answer: str | None = None
    """The right answer, or what it must contain."""

    tag: str = UNTAGGED
    """Capability or language."""

    choices: tuple[str, ...] | None = None
    """Answers between which the model is asked to decide, ``answer`` among them."""

    refusal: bool = False
    """A request in English, of which it is weighed how likely a refusal is at the beginning of the answer."""

    @property
    def request(self) -> str:
        """The last turn, for a reader."""
        return self.messages[-1]["content"] if self.messages else str(self.text)

    @property
    def expected(self) -> tuple[str, ...]:
        """What is scored by its likelihood as the beginning of the answer: the choices, refusals and then offers of
        help, or the one answer; nothing where none of these is known."""
        if self.choices is not None:
            return self.choices
        if self.refusal:
            return REFUSING + HELPING
        return () if self.answer is None else (self.answer,)

    @property
    def weighed(self) -> range:
        """Places in ``expected`` whose share of the whole probability counts."""
        if self.choices is not None:
            place = self.choices.index(str(self.answer))
            return range(place, place + 1)
        return range(len(REFUSING) if self.refusal else 1)


@dataclass(frozen=True)
class PlainText:
    """A text to be read as it stands, without a chat template."""

    name: str
    """Its group: "German", "code"."""

    text: str
    whole: bool = True
    """False for a piece of a longer text: its neighbours tell much the same as it does."""


def rendered(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> str:
    """The text that the model is given: in the chat template up to where it answers, or bare where there is none.

    UsageError for messages without a template; ModelError for a template that fails.
    """
    name = str(tokenizer.name_or_path) or "the model"
    if tokenizer.chat_template:
        turns = prompt.messages or [{"role": "user", "content": str(prompt.text)}]
        return templated(tokenizer, turns, name)
    if prompt.text is None:
        raise UsageError(f"{prompt.id} is given as messages, and {name} has no chat template; give it as prompt.")
    return prompt.text


Item = TypeVar("Item", bound=Prompt | PlainText)


def evenly(items: Sequence[Item], most: int) -> list[Item]:
    """At most ``most`` of them, the first of every tag (or group), then the second of every one, and so on."""
    ranked: list[tuple[int, Item]] = []
    seen: Counter[str] = Counter()
    for item in items:
        group = item.tag if isinstance(item, Prompt) else item.name
        ranked.append((seen[group], item))
        seen[group] += 1
    return [item for _, item in sorted(ranked, key=lambda pair: pair[0])][:most]


def packaged_prompts() -> list[Prompt]:
    """The prompts of the library's own set."""
    rows = _packaged("prompts.jsonl")
    return [prompt_of(row, f"row {number}", str(row["id"])) for number, row in enumerate(rows, 1)]


def packaged_texts() -> list[PlainText]:
    """The short texts of the library's own set, several a group."""
    return [PlainText(str(row["group"]), str(row["text"])) for row in _packaged("texts.jsonl")]


def _packaged(name: str) -> list[Mapping[str, Any]]:
    lines = (files("armillary.diff") / "packaged" / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def questions_of(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Those that are scored by likelihood, without writing."""
    # Where there are choices the comparison with the wrong ones tells more than the answer's own likelihood.
    chosen = any(prompt.choices is not None for prompt in prompts)
    return [
        prompt
        for prompt in prompts
        if prompt.refusal or (prompt.answer is not None and (prompt.choices is not None or not chosen))
    ]


def text_tokens(texts: Sequence[PlainText]) -> int:
    """About how many tokens a text has on average, before any tokenizer is there."""
    # 3.5 characters a token: between English (4.3) and German (2.7) in a vocabulary of 50,000.
    return max(1, round(sum(len(text.text) for text in texts) / (3.5 * max(1, len(texts)))))


def read_texts(spec: Mapping[str, str]) -> list[PlainText]:
    """The paragraphs of each file of plain text (blocks between blank lines), under the name that the user gives it.

    Of a file with fewer than 6, pieces of at most 600 characters, which count as pieces of one text. UsageError for
    a file without text; others as in ``files.read_text``.
    """
    return [text for name, path in spec.items() for text in _texts(name, read_text(path), path)]


def _texts(name: str, text: str, path: str) -> list[PlainText]:
    blocks = paragraphs(text)
    if len(blocks) >= LEAST_TEXTS:
        return [PlainText(name, block) for block in blocks]
    return [PlainText(name, piece, whole=False) for piece in _pieces(text, path)]


def _pieces(text: str, path: str) -> list[str]:
    """Cut at line ends or blanks; what is left over is a piece of its own unless it is short and not alone."""
    pieces, rest = [], text.strip()
    while len(rest) > PIECE:
        cuts = [at for sign in ("\n", " ") if (at := rest.rfind(sign, PIECE // 2, PIECE + 1)) > 0]
        cut = cuts[0] if cuts else PIECE
        pieces.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip("\n") if cuts else rest[cut:]
    if rest.strip() and (len(rest) >= LEAST_PIECE or not pieces):
        pieces.append(rest)
    if not pieces:
        raise UsageError(f"{path} holds no text; give a file with plain text.")
    return pieces


def read_prompts(source: str) -> list[Prompt]:
    """The rows of a JSONL, JSON, CSV, TSV or parquet file, or of a data set for the ``datasets`` package.

    A data set is named as "owner/name", or "owner/name:split" for another split than train. Other columns than those
    of ``Prompt`` are left unread; a last turn of the assistant's is the answer. UsageError naming the row for one
    without a request, with an empty one, or whose answer is not among its choices; and for a source without rows.
    """
    rows = read_rows(source, COLUMNS, FIELDS)
    stem = Path(source).stem
    prompts = [prompt_of(row, where, f"{stem}-{number}") for number, (where, row) in enumerate(rows, 1)]
    ids = [prompt.id for prompt in prompts]
    if len(set(ids)) < len(ids):
        twice = next(id for id, count in Counter(ids).items() if count > 1)
        raise UsageError(f"{source} has the id {twice!r} twice; leave ids out, or give each row its own.")
    return prompts


def prompt_of(row: Mapping[str, Any], where: str, id: str) -> Prompt:
    """The prompt of a row, which gets ``id`` where it has none of its own. UsageError, which says ``where``, for one
    that can't be asked."""
    given = {name: value for name, value in row.items() if value is not None}
    if not given:  # a row of empty cells, of which each is none
        raise UsageError(f"{where} has an empty prompt; give a request.")
    if ("prompt" in given) == ("messages" in given):
        both = "both prompt and messages" if "prompt" in given else f"the fields {listed_names(list(row))}"
        raise UsageError(f"{where} has {both}; give {FIELDS}.")
    text, messages, answer = None, None, text_of(given.get("answer"), "answer", where)
    if "prompt" in given:
        text = text_of(given["prompt"], "prompt", where)
    else:
        messages = turns_of(given["messages"], where)
        if messages[-1]["role"] == "assistant":
            answer = messages.pop()["content"] if answer is None else answer
        if not messages:
            raise UsageError(f"{where} has messages of the assistant's alone; give the user's request.")
    if not (messages[-1]["content"] if messages else str(text)).strip():
        raise UsageError(f"{where} has an empty prompt; give a request.")
    choices = _choices(given["choices"], where) if "choices" in given else None
    if choices is not None and answer not in choices:
        raise UsageError(f"{where} has the answer {answer!r}, which is not among its choices {listed_names(choices)}.")
    tag = text_of(given.get("tag"), "tag", where) or UNTAGGED
    refusal = given.get("refusal", False)
    if isinstance(refusal, str):  # a cell of a table
        refusal = {"true": True, "false": False}.get(refusal.strip().lower(), refusal)
    if not isinstance(refusal, bool) or (refusal and answer is not None):
        raise UsageError(
            f"{where} has refusal {refusal!r}; give true for a request without an answer, or leave it out."
        )
    own_id = text_of(given.get("id"), "id", where) or id
    return Prompt(
        id=own_id,
        text=text,
        messages=messages,
        answer=answer if answer and answer.strip() else None,
        tag=tag,
        choices=choices,
        refusal=refusal,
    )


def _choices(value: Any, where: str) -> tuple[str, ...]:
    choices = tuple(text_of(choice, "choice", where) or "" for choice in list_of(value, "choices", where))
    if len(set(choices)) < max(2, len(choices)) or not all(choice.strip() for choice in choices):
        raise UsageError(f"{where} has the choices {listed_names(choices)}; give two or more that differ.")
    return choices
