"""What precedes and what follows a text: decided here, for every method.

In front stands what the tokenizer puts in front of every text (one beginning-of-text token, several, or none), once,
whether the text brings it along or not: chat templates often do. What it puts behind (an end token, a separator) is
left out everywhere: no next token is read after it, and it is no part of a text whose likelihood is asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from armillary.errors import ModelError, UsageError
from armillary.models.loaded import LoadedModel
from armillary.models.quiet import reason

_PROBE = "one two three"


@dataclass(frozen=True)
class Frame:
    """The tokens that a tokenizer puts around every text."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    kept: tuple[int, int]
    """How many of them it puts before and after a text even where it is asked for none."""


def frame(tokenizer: PreTrainedTokenizerBase) -> Frame:
    """Read off a short text, with and without; ModelError where the text's own tokens differ between the two."""
    special = {*tokenizer.all_special_ids} - {tokenizer.unk_token_id}
    text, bare = _probe(tokenizer, special)
    ordinary = [index for index, token in enumerate(bare) if token not in special] or [0, len(bare) - 1]
    kept = ordinary[0], len(bare) - 1 - ordinary[-1]
    content = bare[kept[0] : len(bare) - kept[1]]
    whole: list[int] = tokenizer(text)["input_ids"]
    for start in range(len(whole) - len(content) + 1):
        end = start + len(content)
        if whole[start:end] == content:
            return Frame(tuple(whole[:start]), tuple(whole[end:]), kept)
    raise ModelError(
        f"the tokenizer ({type(tokenizer).__name__}) reads {text!r} as {bare} without and as {whole} with its special "
        "tokens, so what belongs to a text can't be told; give a tokenizer that only puts tokens around it."
    )


def prompt_rows(loaded: LoadedModel, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text with what precedes it. ModelError for a token that the model has no row for."""
    return _readable(loaded, framed_ids(loaded.tokenizer, texts), texts)


def framed_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Each text's own tokens with what precedes a text, as far as the text does not bring it along."""
    before = frame(tokenizer).before
    return [[*_missing(before, row), *row] for row in bare_ids(tokenizer, texts)]


def bare_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Each text's own tokens, with nothing around them. UsageError for anything but a list of Unicode texts."""
    if isinstance(texts, str):
        raise UsageError(f"Give a list of texts; {texts[:60]!r} alone would be read letter by letter.")
    for text in texts:
        if not isinstance(text, str):
            raise UsageError(f"Give a list of texts; {text!r:.60} is of type {type(text).__name__}.")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{text!r:.80} is no text in Unicode; in a shell, give it in UTF-8.") from None
    if not texts:
        return []
    # Of a text that is too long the caller tells in a sentence of its own.
    rows: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    first, last = frame(tokenizer).kept
    return [row[first : len(row) - last] for row in rows]


def text_ids(loaded: LoadedModel, text: str) -> list[int]:
    """Tokens of a text by itself, which goes on after others; errors as in ``prompt_rows``."""
    return _readable(loaded, bare_ids(loaded.tokenizer, [text]), [text])[0] if text else []


def continuation_ids(loaded: LoadedModel, text: str) -> list[int]:
    """Tokens that a text has after a line end: without the blank that some tokenizers put before every text."""
    before, whole = text_ids(loaded, "\n"), text_ids(loaded, f"\n{text}")
    return whole[len(before) :] if whole[: len(before)] == before else text_ids(loaded, text)


def unended(tokenizer: PreTrainedTokenizerBase, row: Sequence[int]) -> list[int]:
    """A row that the tokenizer itself made, without what it put behind the text."""
    after = frame(tokenizer).after
    ends = bool(after) and tuple(row[-len(after) :]) == after
    return list(row[: len(row) - len(after)] if ends else row)


def token_spans(loaded: LoadedModel, text: str) -> list[tuple[int, int]]:
    """Where each token of the text's row of ``prompt_rows`` stands in the text, in characters.

    (0, 0) for a token in front. UsageError where the tokenizer can't say.
    """
    prompt_rows(loaded, [text])  # which tells of a token that the model has no row for
    return framed_spans(loaded.tokenizer, [text], loaded.name)[0][1]


def framed_spans(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], name: str = "this kind"
) -> list[tuple[list[int], list[tuple[int, int]]]]:
    """Of each text the row of ``framed_ids``, and where its tokens stand in the text; as ``token_spans``."""
    if not tokenizer.is_fast:
        raise UsageError(f"the tokenizer of {name} can't say where a word ends; a fast tokenizer is needed.")
    rows = framed_ids(tokenizer, texts)
    if not texts:
        return []
    offsets = tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    first, last = frame(tokenizer).kept
    placed = []
    for ids, spans in zip(rows, offsets["offset_mapping"], strict=True):
        own = [tuple(span) for span in spans[first : len(spans) - last]]
        placed.append((ids, [(0, 0)] * (len(ids) - len(own)) + own))
    return placed


def windows(loaded: LoadedModel, ids: Sequence[int], tokens: int) -> list[list[int]]:
    """Rows of ``tokens`` ids to train on, cut from a long text, each after what precedes a text; no rest is kept."""
    before = frame(loaded.tokenizer).before
    step = tokens - len(before)
    return [[*before, *ids[start : start + step]] for start in range(0, len(ids) - step, step)]


def chat_text(loaded: LoadedModel, request: str) -> str:
    """A user's request in the model's chat template, up to where the model's own answer begins.

    The template may write the beginning of the text; ``prompt_rows`` puts it there once. ModelError where the
    tokenizer has no chat template, or one that fails.
    """
    return templated(loaded.tokenizer, [{"role": "user", "content": request}], loaded.name)


def templated(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Mapping[str, str]], name: str, *, answered: bool = False
) -> str:
    """Turns of a conversation in the tokenizer's chat template, up to where the model answers.

    ``answered`` where the last turn is the model's own: nothing follows it. ``name`` says in messages whose template
    it is; errors as in ``chat_text``.
    """
    if not tokenizer.chat_template:
        raise ModelError(f"{name} has no chat template; leave chat_template off.")
    try:
        plain = list(map(dict, turns))
        return str(tokenizer.apply_chat_template(plain, add_generation_prompt=not answered, tokenize=False))
    except Exception as error:  # whatever the template's own code raises
        raise ModelError(f"the chat template of {name} fails ({reason(error)}); mend or remove it.") from error


def given_tokens(loaded: LoadedModel, rows: Sequence[Sequence[int]]) -> list[int]:
    """How many tokens at the beginning of each row of ``prompt_rows`` are given and not scored: at least the first."""
    before = frame(loaded.tokenizer).before
    return [max(1, len(before)) if tuple(row[: len(before)]) == before else 1 for row in rows]


def beginning(loaded: LoadedModel) -> tuple[int, ...]:
    """What a text without words consists of: the tokens in front of every text, else the beginning-of-text token.

    Empty where the tokenizer has neither. ModelError where the model has no row for them.
    """
    begin = loaded.tokenizer.bos_token_id
    ids = frame(loaded.tokenizer).before or ((begin,) if isinstance(begin, int) else ())
    return tuple(_readable(loaded, [list(ids)], [""])[0])


# One prefix for the sequences of several models.


@dataclass(frozen=True, kw_only=True)
class CommonPrefix:
    """What stands before every sequence, the same tokens for all models."""

    ids: tuple[int, ...]
    note: str | None = None
    """A sentence where the tokenizers would begin a text differently."""


def shared_prefix(models: Sequence[LoadedModel], text: str | None = None) -> CommonPrefix:
    """The first model's own (``text`` with what precedes it, or ``beginning``), if all models can read it.

    Where they can't, or it has none, that of the next model is tried. UsageError where no model has one that all can
    read: the same strings for the same ids, and a row for each.
    """
    own = [tuple(prompt_rows(model, [text])[0]) if text is not None else beginning(model) for model in models]
    for source, ids in zip(models, own, strict=True):
        strings = _strings(source, ids)
        if ids and all(_strings(model, ids) == strings for model in models):
            begins = [
                f"{model.name} with {str(model.tokenizer.decode(list(start)))!r}"
                if start
                else f"{model.name} with nothing"
                for model, start in zip(models, own, strict=True)
            ]
            note = (
                f"The tokenizers begin a text differently ({', '.join(begins)}); all sequences are read after "
                f"{str(source.tokenizer.decode(list(ids)))!r}."
            )
            return CommonPrefix(ids=ids, note=note if len(set(own)) > 1 else None)
    names = " and ".join(dict.fromkeys(model.name for model in models))
    if any(own):
        raise UsageError(f"No model of {names} begins a text with tokens that all of them have; give a prefix.")
    if text is not None:
        raise UsageError(f"The prefix {text!r} has no tokens in the tokenizer of {names}.")
    raise UsageError(f"The tokenizer of {names} has no beginning-of-text token; give a prefix.")


def _strings(loaded: LoadedModel, ids: Sequence[int]) -> list[str | None]:
    """The tokenizer's own name of each id; None where the model has no row for it."""
    size, names = loaded.anatomy.embedding.num_embeddings, loaded.tokenizer.convert_ids_to_tokens(list(ids))
    return [name if token < size else None for name, token in zip(names, ids, strict=True)]


def _probe(tokenizer: PreTrainedTokenizerBase, special: set[int]) -> tuple[str, list[int]]:
    """A short text that has tokens of its own, and these."""
    ids: list[int] = tokenizer(_PROBE, add_special_tokens=False)["input_ids"]
    if not special.issuperset(ids):
        return _PROBE, ids
    for text in tokenizer.get_vocab():  # of a few words or letters, none of them in the probe
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if not special.issuperset(ids):
            return text, ids
    return "", []


def _missing(before: tuple[int, ...], row: Sequence[int]) -> tuple[int, ...]:
    """What of the tokens in front a row does not bring along."""
    if before and tuple(row[:1]) == before[:1]:
        return ()
    overlap = next((n for n in range(len(before), 0, -1) if tuple(row[:n]) == before[-n:]), 0)
    return before[: len(before) - overlap]


def _readable(loaded: LoadedModel, rows: list[list[int]], texts: Sequence[str]) -> list[list[int]]:
    """The rows, if the model can read every token of them."""
    size = loaded.anatomy.embedding.num_embeddings
    for row, text in zip(rows, texts, strict=True):
        if row and max(row) >= size:
            token = max(row)
            raise ModelError(
                f"The text {text[:60]!r} has the token {str(loaded.tokenizer.convert_ids_to_tokens(token))!r} (id "
                f"{token}), and the embedding of {loaded.name} has {size} rows: the tokenizer has tokens that the "
                "model lacks; give the model's own tokenizer, or resize_token_embeddings and train the new rows."
            )
    return rows
