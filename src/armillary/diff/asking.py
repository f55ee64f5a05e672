"""Models read texts and answer prompts, and what comes of it is kept: the forward passes of a diff.

A prompt is read once a model. From its cache both answers are written (the likeliest one, and one that is drawn),
a question's choices are scored, and so are the answers that another model gave. What all prompts begin with (the
template's system turn) is read once for all.

Legend: B prompts of a batch, C continuations, T tokens, N scored positions, D hidden size, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armillary.diff.kept import WAYS, Integers, Scored, Way, compare, keep
from armillary.errors import NumericError
from armillary.models import LoadedModel
from armillary.models.batches import pad, padded_batches, run_body
from armillary.models.prompts import given_tokens
from armillary.progress import counted
from armillary.runs.parts import Arrays
from armillary.scoring.decoding import CachedPrompts, DecodingRows, end_tokens, few_rows
from armillary.scoring.kv_cache import common_beginning, copy_cache, growing_cache
from armillary.scoring.nll import CHUNK_ELEMENTS, chunked_nll
from armillary.scoring.sampling import draw

BATCH = 32
"""Prompts that are read together; twice as many answers grow together."""

ROWS_TOKENS = 2048
"""Tokens of a batch of texts, padding included."""


# Texts.


@torch.inference_mode()
def read_texts(
    loaded: LoadedModel,
    rows: Sequence[Sequence[int]],
    author: Scored | None = None,
    *,
    theirs: Sequence[int] | None = None,
    tokens_per_batch: int = ROWS_TOKENS,
    label: str | None = None,
) -> Arrays:
    """What the model keeps of texts, given as rows of tokens; or, with an author, what it says where that one was.

    ``theirs`` are the author's rows of these texts, by default all in order. The columns of ``Scored`` or of
    ``Crossed``. ``label`` names a progress bar. Raises NumericError for logits that are not finite.
    """
    given = given_tokens(loaded, rows)
    lengths = [len(row) - before for row, before in zip(rows, given, strict=True)]
    offsets = np.cumsum([0, *lengths]).astype(np.int64)
    starts = offsets if author is None else author.offsets[np.arange(len(rows)) if theirs is None else [*theirs]]
    columns = _Columns(int(offsets[-1]))
    with counted(label, len(rows)) as bar:
        for batch in padded_batches(rows, tokens_per_batch):
            ids_BT, mask_BT = pad([rows[index] for index in batch], device=loaded.device)
            hidden_BTD = run_body(loaded, ids_BT, None if bool(mask_BT.all()) else mask_BT)
            before_BT = torch.zeros_like(mask_BT, dtype=torch.bool)
            for b, index in enumerate(batch):
                before_BT[b, given[index] - 1 : len(rows[index]) - 1] = True
            hidden_ND, ids_N = hidden_BTD[before_BT], ids_BT[:, 1:][before_BT[:, :-1]]
            where = np.concatenate([offsets[index] + np.arange(lengths[index]) for index in batch])
            there = np.concatenate([starts[index] + np.arange(lengths[index]) for index in batch])
            _score(loaded, hidden_ND, ids_N, columns, where, author, there)
            bar.advance(len(batch))
    return {"offsets": offsets, **columns.arrays}


class _Columns:
    """Columns of so many positions, filled piece by piece."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.arrays: Arrays = {}

    def put(self, where: Integers, piece: Arrays) -> None:
        for name, values in piece.items():
            if name not in self.arrays:
                self.arrays[name] = np.zeros((self.size, *values.shape[1:]), values.dtype)
            self.arrays[name][where] = values


def _score(
    loaded: LoadedModel,
    hidden_ND: Tensor,
    ids_N: Tensor,
    columns: _Columns,
    where: Integers,
    author: Scored | None,
    theirs: Integers,
) -> None:
    """Put what these states say of the tokens after them, a chunk of logits at a time."""
    step = max(1, CHUNK_ELEMENTS // loaded.anatomy.vocabulary_size)
    for start in range(0, len(ids_N), step):
        piece = slice(start, start + step)
        logits_NV = logits_of(loaded, hidden_ND[piece])
        if author is None:
            columns.put(where[piece], keep(logits_NV, ids_N[piece]))
        else:
            columns.put(where[piece], compare(logits_NV, author, theirs[piece]))


def logits_of(loaded: LoadedModel, hidden_ND: Tensor) -> Tensor:
    """Logits in float32, -inf where a row of the head is no token; NumericError where they are not finite."""
    logits_NV = loaded.masked(loaded.anatomy.logits(hidden_ND).float())
    if not bool(logits_NV.amax(dim=-1).isfinite().all()):
        raise NumericError(f"{loaded.name} gives NaN or infinite logits, so nothing can be compared with it.")
    return logits_NV


# Answers.


@dataclass(frozen=True, kw_only=True)
class Authored:
    """The answers of another model that are scored here."""

    ids: Mapping[Way, Sequence[Sequence[int]]]
    """By way, the tokens of each answer, in this model's vocabulary."""

    scored: Mapping[Way, Scored] | None
    """What the author kept, in the same tokens; None for other tokens, where only sums can be compared."""


@dataclass(frozen=True, kw_only=True)
class Visit:
    """What is done at each prompt while its cache is there."""

    rows: Sequence[Sequence[int]]
    """Tokens of each prompt."""

    tokens: int = 0
    """Tokens of the answers that are written, at most; 0 writes none."""

    seed: tuple[int, ...] = (0,)
    """Of the drawn answers: a prompt's numbers depend on it and on the prompt's index alone."""

    keeps: bool = True
    """Whether the answers' own distributions are kept."""

    expected: Sequence[Sequence[Sequence[int]]] = ()
    """Tokens of each prompt's expected answers, to be scored; none at all where it is empty."""

    authored: Authored | None = None
    batch: int
    reverse: bool = False
    """Longest prompts first."""

    order: list[list[int]] = field(init=False)
    """Indices of the prompts of each batch: those of about one length together."""

    beginning: tuple[int, ...] = field(init=False)
    """Tokens that all prompts begin with: looked for once, since a batch that looks through all prompts would make
    the visit's cost grow with their square."""

    def __post_init__(self) -> None:
        order = sorted(range(len(self.rows)), key=lambda index: (len(self.rows[index]), index), reverse=self.reverse)
        batches = [order[start : start + self.batch] for start in range(0, len(order), self.batch)]
        object.__setattr__(self, "order", batches)
        object.__setattr__(self, "beginning", common_beginning(self.rows))


@torch.inference_mode()
def visit_batch(loaded: LoadedModel, visit: Visit, number: int) -> Arrays:
    """Everything that comes of one batch of prompts: columns by "way.column", rows in the batch's order.

    NumericError for logits that are not finite, ModelError for a model without a cache that can be cut back.
    """
    batch = visit.order[number]
    prompts = CachedPrompts(loaded)
    _share_beginning(prompts, [visit.rows[index] for index in batch], visit.beginning)
    hidden_BD = prompts.read([visit.rows[index] for index in batch])
    out: Arrays = {}
    if visit.tokens:
        out |= _written(prompts, hidden_BD, visit, batch)
    if visit.expected:
        answers = [answer for index in batch for answer in visit.expected[index]]
        owners = [row for row, index in enumerate(batch) for _ in visit.expected[index]]
        offsets = np.cumsum([0, *(len(visit.expected[index]) for index in batch)])
        out |= named("expected", {"offsets": offsets, "nats": _summed(prompts, hidden_BD, owners, answers)})
    if visit.authored is not None:
        for way, ids in visit.authored.ids.items():
            scored = None if visit.authored.scored is None else visit.authored.scored[way]
            crossed = _crossed(prompts, hidden_BD, [ids[index] for index in batch], scored, batch)
            out |= named(f"{way} crossed", crossed)
    return out


def _share_beginning(prompts: CachedPrompts, rows: Sequence[Sequence[int]], beginning: Sequence[int]) -> None:
    """Read what all prompts begin with once, and hand it to every row."""
    # The last token of a row is read with the row itself.
    shared = list(beginning[: min(len(beginning), *(len(row) - 1 for row in rows))])
    if not shared:
        return
    loaded = prompts.loaded
    cache = growing_cache()
    run_body(loaded, torch.tensor([shared], device=loaded.device), cache=cache)
    prompts.cache = copy_cache(cache, torch.zeros(len(rows), dtype=torch.long, device=loaded.device))
    prompts.rows = [shared] * len(rows)


def _written(prompts: CachedPrompts, hidden_BD: Tensor, visit: Visit, batch: Sequence[int]) -> Arrays:
    """Both answers to each prompt: the first half of the rows takes the likeliest token, the second half draws."""
    loaded, count = prompts.loaded, len(batch)
    seeds = [np.random.SeedSequence([*visit.seed, index]).generate_state(1, np.uint64)[0] >> 1 for index in batch]
    generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
    drawn = [torch.rand(visit.tokens, generator=generator, dtype=torch.float64) for generator in generators]
    uniforms = torch.stack(drawn).to(loaded.device)
    stops = torch.tensor(end_tokens(loaded), dtype=torch.long, device=loaded.device)
    rows = prompts.decoding([*range(count), *range(count)], hidden_BD, stops)
    pieces: list[Arrays] = []
    with few_rows(loaded.model):
        for step in range(visit.tokens):
            pieces.append(_step(loaded, rows, uniforms[:, step], visit.keeps) | {"step": np.array([step])})
            tokens = torch.from_numpy(pieces[-1].pop("token")).to(loaded.device)
            if step + 1 == visit.tokens or not rows.advance(tokens):
                break
    steps = np.concatenate([np.repeat(piece.pop("step"), len(piece["row"])) for piece in pieces])
    columns = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    ends = set(stops.tolist())
    out: Arrays = {}
    for half, way in enumerate(WAYS):
        order = np.lexsort((steps, columns["row"]))
        order = order[(columns["row"][order] // count) == half]
        lengths = np.bincount(columns["row"][order] - half * count, minlength=count)
        own = {name: values[order] for name, values in columns.items() if name != "row"}
        offsets = np.cumsum([0, *lengths])
        answers = [own["ids"][offsets[row] : offsets[row + 1]].tolist() for row in range(count)]
        texts = [str(loaded.tokenizer.decode(ids, skip_special_tokens=True)) for ids in answers]
        own |= {"offsets": offsets, "ended": np.array([ids[-1] in ends for ids in answers])}
        own |= {"text": np.array([text.replace("\0", "\ufffd") for text in texts], dtype=np.str_)}
        out |= named(way, own)
    return out


def _step(loaded: LoadedModel, rows: DecodingRows, uniform_B: Tensor, keeps: bool) -> Arrays:
    """The next token of every row, and of the rows that are not finished what is kept of it."""
    logits_NV = logits_of(loaded, rows.hidden_BD)
    count = len(uniform_B)
    drawn_N = rows.held >= count
    token_N = logits_NV.argmax(dim=-1)
    if bool(drawn_N.any()):
        token_N[drawn_N] = draw(logits_NV[drawn_N], uniform_B[rows.held[drawn_N] - count])[0]
    alive = rows.alive
    chosen = {"ids": token_N[alive].cpu().numpy().astype(np.int32)}
    kept = keep(logits_NV[alive], token_N[alive]) if keeps else chosen
    return {"row": rows.held[alive].cpu().numpy(), **kept, "token": token_N.cpu().numpy()}


def _continued(
    prompts: CachedPrompts, hidden_BD: Tensor, owners: Sequence[int], answers: Sequence[Sequence[int]]
) -> tuple[Tensor, Tensor]:
    """State in front of every token of each answer, and the tokens, ``[N, D]`` and ``[N]``, answer after answer."""
    loaded = prompts.loaded
    rows = prompts.decoding(owners, hidden_BD, torch.tensor([], dtype=torch.long, device=loaded.device))
    ids_CT, new_CT = pad(answers, device=loaded.device)
    hidden_CTD = rows.hidden_BD[:, None]
    if ids_CT.shape[1] > 1:
        mask_CS = torch.cat([rows.mask_BS, new_CT[:, :-1]], dim=1)
        more_CTD = run_body(loaded, ids_CT[:, :-1], None if bool(mask_CS.all()) else mask_CS, cache=rows.cache)
        hidden_CTD = torch.cat([hidden_CTD, more_CTD], dim=1)
    scored_CT = new_CT.bool()
    return hidden_CTD[scored_CT], ids_CT[scored_CT]


def _summed(
    prompts: CachedPrompts, hidden_BD: Tensor, owners: Sequence[int], answers: Sequence[Sequence[int]]
) -> NDArray[np.float64]:
    """Log-probability (nats) of each answer as a whole."""
    totals = np.zeros(len(answers))
    # Not more at once than answers that are written.
    for start in range(0, len(answers), 2 * BATCH):
        some = slice(start, start + 2 * BATCH)
        hidden_ND, ids_N = _continued(prompts, hidden_BD, owners[some], answers[some])
        nll_N = chunked_nll(prompts.loaded, hidden_ND, ids_N).double().cpu().numpy()
        index_N = np.repeat(np.arange(len(answers))[some], [len(answer) for answer in answers[some]])
        np.subtract.at(totals, index_N, nll_N)
    return totals


def _crossed(
    prompts: CachedPrompts,
    hidden_BD: Tensor,
    answers: Sequence[Sequence[int]],
    author: Scored | None,
    batch: Sequence[int],
) -> Arrays:
    """The columns of ``Crossed`` of one answer to each prompt; an empty answer has no positions."""
    offsets = np.cumsum([0, *map(len, answers)])
    owners = [row for row, answer in enumerate(answers) if answer]
    if not owners:
        return {"offsets": offsets, **without_divergence(np.zeros(0, np.float32))}
    hidden_ND, ids_N = _continued(prompts, hidden_BD, owners, [answers[row] for row in owners])
    if author is None:
        logprob_N = -chunked_nll(prompts.loaded, hidden_ND, ids_N).float().cpu().numpy()
        return {"offsets": offsets, **without_divergence(logprob_N)}
    columns = _Columns(len(ids_N))
    theirs = np.concatenate([author.offsets[batch[row]] + np.arange(len(answers[row])) for row in owners])
    _score(prompts.loaded, hidden_ND, ids_N, columns, np.arange(len(ids_N)), author, theirs)
    return {"offsets": offsets, **columns.arrays}


def without_divergence(logprob_N: NDArray[np.float32]) -> Arrays:
    """The columns of ``Crossed`` where the author has other tokens."""
    nothing = np.full(len(logprob_N), np.nan, np.float32)
    return {"logprob": logprob_N, "estimate": nothing, "lower": nothing, "upper": nothing, "agrees": nothing}


OF_ROWS = ("text", "ended")
"""Columns that have one value a row; all others have one a position."""


def named(group: str, columns: Arrays) -> Arrays:
    """The columns under names that say what they belong to: "greedy.ids"."""
    return {f"{group}.{name}": values for name, values in columns.items()}


def group_of(group: str, arrays: Arrays) -> Arrays:
    """Inverse of ``named``."""
    start = f"{group}."
    return {name.removeprefix(start): values for name, values in arrays.items() if name.startswith(start)}


def gathered(visit: Visit, batches: Sequence[Arrays]) -> Arrays:
    """The columns of all batches, rows in the order of the prompts."""
    back = np.argsort(np.concatenate([np.asarray(batch) for batch in visit.order]), kind="stable")
    out: Arrays = {}
    for group in dict.fromkeys(name.partition(".")[0] for name in batches[0]):
        parts = [group_of(group, batch) for batch in batches]
        lengths = np.concatenate([np.diff(part["offsets"]) for part in parts])
        starts = np.cumsum([0, *lengths])
        places = np.concatenate([np.arange(starts[row], starts[row + 1]) for row in back])
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name != "offsets"}
        columns = {name: values[back if name in OF_ROWS else places] for name, values in joined.items()}
        out |= named(group, {"offsets": np.cumsum([0, *lengths[back]]).astype(np.int64), **columns})
    return out
