"""Rows of text as what a language model reads and learns: an answer after its request, or a text of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from armillary.data.rows import read_rows, text_of, turns_of
from armillary.data.tables import listed_names
from armillary.errors import UsageError
from armillary.models.loaded import LoadedModel
from armillary.models.prompts import bare_ids, continuation_ids, prompt_rows, templated, text_ids

FIELDS = "prompt and answer, or messages, or text (with given before it, if wanted), and if wanted tag"
COLUMNS = ("prompt", "answer", "messages", "text", "given", "tag")


@dataclass(frozen=True, kw_only=True)
class TuningRow:
    """What is learned, and what stands before it."""

    learned: str
    """The answer, or the whole text."""

    prompt: str | None = None
    """The request of a user, where the row has one."""

    messages: tuple[Mapping[str, str], ...] = ()
    """Or the turns of a conversation up to the answer."""

    given: str = ""
    """Or what stands before the text and is read without being learned."""

    tag: str = ""
    """What the row is there for, as "tickets"."""

    where: str = "the row"
    """Its place in words."""


def read_text_rows(source: str) -> list[TuningRow]:
    """The rows of a source as ``data.rows.read_rows`` takes them; other columns than those of ``FIELDS`` are left.

    UsageError naming the row for one without anything to learn, or with fields that don't go together.
    """
    return [_row(row, where) for where, row in read_rows(source, COLUMNS, FIELDS)]


def _row(row: Mapping[str, Any], where: str) -> TuningRow:
    filled = {name: row[name] for name in COLUMNS if row.get(name) is not None}
    kinds = [name for name in ("prompt", "messages", "text") if name in filled]
    if len(kinds) != 1:
        has = f"both {' and '.join(kinds)}" if kinds else f"the fields {listed_names(list(row))}"
        raise UsageError(f"{where} has {has}; give {FIELDS}.")
    kind = kinds[0]
    if "given" in filled and kind != "text":
        raise UsageError(f"{where} has given beside {kind}; it belongs to a text.")
    texts = {name: text_of(filled.get(name), name, where) or "" for name in COLUMNS if name != "messages"}
    learned, turns = texts["text" if kind == "text" else "answer"], []
    if kind == "messages":
        turns = turns_of(filled["messages"], where)
        if "answer" not in filled and turns[-1]["role"] == "assistant":
            learned = turns.pop()["content"]
        if not turns or turns[-1]["role"] == "assistant":
            raise UsageError(f"{where} has no request before its answer; give a user's turn, then the assistant's.")
    if kind == "prompt" and not texts["prompt"].strip():
        raise UsageError(f"{where} has an empty prompt; give a request.")
    if not learned.strip():
        raise UsageError(f"{where} has nothing to learn: its {'text' if kind == 'text' else 'answer'} is empty.")
    return TuningRow(
        learned=learned,
        prompt=texts["prompt"] if kind == "prompt" else None,
        messages=tuple(turns),
        given=texts["given"],
        tag=texts["tag"],
        where=where,
    )


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """Token ids of a row."""

    ids: tuple[int, ...]
    given: int
    """How many of them are read without being learned: at least the first."""

    cut: int = 0
    """Tokens that were left out at the end."""

    tag: str = ""


@dataclass(frozen=True, kw_only=True)
class EncodedRows:
    """The rows that can be learned, and what was left out of them."""

    rows: list[Encoding]
    left_out: int
    """Rows of which what is given fills all the tokens that are read."""

    room: int | None
    """Tokens of a row at most; None for no limit."""

    @property
    def cut(self) -> list[Encoding]:
        """Rows that lost their end."""
        return [row for row in self.rows if row.cut]


def encode_rows(loaded: LoadedModel, rows: Sequence[TuningRow], most_tokens: int | None = None) -> EncodedRows:
    """Token ids of every row, at most ``most_tokens`` each and no more than the model reads.

    UsageError for messages without a chat template, and where no row keeps anything to learn.
    """
    room = min((limit for limit in (most_tokens, loaded.max_positions) if limit is not None), default=None)
    encodings = []
    for row in rows:
        given, learned = _ids(loaded, row)
        if not given:  # nothing precedes a text: its first token is given
            given, learned = learned[:1], learned[1:]
        ids = (*given, *learned)
        if learned and (room is None or len(given) < room):
            kept = ids[:room]
            encodings.append(Encoding(ids=kept, given=len(given), cut=len(ids) - len(kept), tag=row.tag))
    if not encodings:
        raise UsageError(
            f"no row has anything to learn within the {room or 'few'} tokens that are read: what precedes fills "
            "them all, or a text is a single token; give shorter requests, or longer texts."
        )
    return EncodedRows(rows=encodings, left_out=len(rows) - len(encodings), room=room)


def _ids(loaded: LoadedModel, row: TuningRow) -> tuple[list[int], list[int]]:
    """Tokens that are given, and those that are learned."""
    if row.prompt is None and not row.messages:
        given = prompt_rows(loaded, [row.given])[0]
        if not row.given:
            return given, continuation_ids(loaded, row.learned)
        parted = row.given[-1].isspace() or row.learned[0].isspace()
        return given, text_ids(loaded, row.learned if parted else f" {row.learned}")
    if loaded.tokenizer.chat_template:
        turns = row.messages or ({"role": "user", "content": str(row.prompt)},)
        return _in_template(loaded, turns, row.learned)
    if row.messages:
        raise UsageError(
            f"{row.where} is given as messages, and {loaded.name} has no chat template; give prompt and answer."
        )
    # A model without a template answers on the next line.
    given = prompt_rows(loaded, [f"{row.prompt}\n"])[0]
    return given, [*continuation_ids(loaded, row.learned), *_end(loaded)]


def _in_template(loaded: LoadedModel, turns: Sequence[Mapping[str, str]], answer: str) -> tuple[list[int], list[int]]:
    """The request in the chat template, and the answer up to the token with which the template ends a turn."""
    tokenizer = loaded.tokenizer
    request = templated(tokenizer, turns, loaded.name)
    given = prompt_rows(loaded, [request])[0]
    whole = templated(tokenizer, [*turns, {"role": "assistant", "content": answer}], loaded.name, answered=True)
    learned, end = answer, _end(loaded)
    rest = whole.removeprefix(request)
    stripped = answer.strip()  # some templates take blanks off
    if rest != whole and stripped in rest:
        # Also what the template writes before the answer (a blank, an empty thought): the model will have to write it.
        until = rest.index(stripped) + len(stripped)
        learned, after = rest[:until], bare_ids(tokenizer, [rest[until:].strip()])[0]
        special = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
        end = after[:1] if {*after[:1]} & {*special, *tokenizer.all_special_ids} else end
    return given, [*continuation_ids(loaded, learned), *end]


def _end(loaded: LoadedModel) -> list[int]:
    token = loaded.tokenizer.eos_token_id
    return [token] if isinstance(token, int) else []
