"""From a file of texts to files of training data, stage by stage, each kept as it is finished."""

import json
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from armillary.attributes.attribute import Attribute
from armillary.attributes.attribute_set import AttributeSet
from armillary.attributes.interchange.rows import COLUMNS
from armillary.errors import UsageError
from armillary.methods.ultragen.config import ExpansionConfig, PairConfig, SamplingConfig, SpaceConfig
from armillary.methods.ultragen.pairing import preferences, set_seed
from armillary.methods.ultragen.report import BuiltCounts, UltragenPage, build_page
from armillary.methods.ultragen.set_files import StoredSet, read_sets, read_texts, stored, write_lines
from armillary.methods.ultragen.space import AttributeSpace
from armillary.methods.ultragen.training_data import Reconstruction, reconstructions, split_documents
from armillary.progress import counted
from armillary.records.plain import dumps
from armillary.runs.parts import Parts
from armillary.runs.pieces import pieces, rows

if TYPE_CHECKING:
    from armillary.models.loaded import LoadedModel

TEXTS_AT_ONCE = 200
"""Texts of one part: a few seconds of work that a kill may lose."""

SETS_AT_ONCE = 8
"""Sets of one part of responses: about a minute for a small model on a laptop."""


@dataclass(frozen=True, kw_only=True)
class PairPlan:
    """How responses are drawn and paired."""

    config: PairConfig
    sampling: SamplingConfig
    chat: bool
    """Write messages and not plain text."""

    seed: int


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """Everything that decides what is built."""

    texts: str
    field: str | None
    limit: int | None
    n: int
    most_words: int
    test_share: float
    sets: int
    space: SpaceConfig
    expansion: ExpansionConfig
    encoder: str | None
    pairs: PairPlan
    seed: int


@dataclass(frozen=True, kw_only=True)
class StoredSets:
    """Sets as they are kept between stages, each a line of a file of sets."""

    lines: list[str]
    accuracy: list[float]
    doubt: str = ""
    """See ``AttributeSpace.doubt``."""


@dataclass(frozen=True, kw_only=True)
class StoredPairs:
    """Pairs of some sets in TRL's columns, each as JSON."""

    lines: list[str]
    scores: list[list[float]]
    left_out: dict[str, int]


def built(plan: BuildPlan, parts: Parts, folder: Path, loaded: "LoadedModel | None") -> UltragenPage:
    """Writes the files into ``folder`` and tells what they hold.

    UsageError where the texts have no attributes, a file has none of its rows, or a set's prompt leaves no room.
    """
    documents, repeated = _documents(plan, parts)
    split = split_documents([document.text or "" for document in documents], plan.test_share, seed=plan.seed)
    if not split.train:
        raise UsageError(f"{plan.texts} leaves no text to train on; give more, or a smaller test_share.")
    train = [documents[index] for index in split.train]
    test = [documents[index] for index in split.test]
    made = [
        Reconstruction(request=own.prompt, text=own.text or "", attributes=own.attributes).row(chat=plan.pairs.chat)
        for own in train
    ]
    write_lines(folder / "ar.jsonl", map(dumps, made))
    write_lines(folder / "test.jsonl", (document.line() for document in test))
    expanded = parts.decoded(StoredSets, "sets", lambda: _expanded(plan, train))
    held = round(plan.test_share * len(expanded.lines))
    used = expanded.lines[: len(expanded.lines) - held]
    write_lines(folder / "sets.jsonl", used)
    write_lines(folder / "test_sets.jsonl", expanded.lines[len(used) :])
    pairs, left_out = None, Counter[str]()
    if loaded is not None:
        lines = []
        for some in paired(loaded, [set_of(line) for line in used], plan.pairs, parts):
            lines += some.lines
            left_out.update(some.left_out)
        write_lines(folder / "pairs.jsonl", lines)
        pairs = len(lines)
    counts = BuiltCounts(
        rows=len(train),
        held_out=len(test),
        repeated=repeated + split.repeated,
        attributes=sum(len(document.attributes.attributes) for document in train) / len(train),
        sets=len(used),
        test_sets=held,
        accuracy=expanded.accuracy,
        doubt=expanded.doubt,
        pairs=pairs,
        left_out=dict(left_out),
    )
    return build_page(counts, train[0].prompt)


def _documents(plan: BuildPlan, parts: Parts) -> tuple[list[StoredSet], int]:
    """Every text with its attributes, and how many texts had no word."""
    _, first = next(chain.from_iterable(map(rows, pieces(plan.texts))), ("", {}))
    if any(name in first for name in COLUMNS):
        read = read_sets(plan.texts, plan.limit)
        if any(document.text is None for document in read):
            raise UsageError(f"{plan.texts} has rows without a text; give what `armillary ultragen derive` left.")
        return [stored(own.attributes, set_seed(plan.seed, place), own.text) for place, own in enumerate(read)], 0
    texts = read_texts(plan.texts, plan.field, plan.limit)
    lines: list[str] = []
    with counted("derive attributes", len(texts)) as bar:
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            some = texts[start : start + TEXTS_AT_ONCE]
            lines += parts.json(f"texts from {start}", partial(_lines, some, start, plan))
            bar.advance(len(some))
    if not lines:
        raise UsageError(f"{plan.texts} holds no text with a word.")
    return [set_of(line) for line in lines], len(texts) - len(lines)


def _lines(texts: Sequence[str], start: int, plan: BuildPlan) -> list[str]:
    made: Iterator[Reconstruction] = reconstructions(
        texts, n=plan.n, most_words=plan.most_words, seed=set_seed(plan.seed, start)
    )
    return [StoredSet(attributes=own.attributes, prompt=own.request, text=own.text).line() for own in made]


def set_of(line: str) -> StoredSet:
    """The set of a line that ``StoredSet.line`` wrote."""
    row = json.loads(line)
    attributes = tuple(Attribute.from_json(attribute) for attribute in row["attributes"])
    return StoredSet(
        attributes=AttributeSet(attributes=attributes, id=row["id"]), prompt=row["prompt"], text=row.get("response")
    )


def _expanded(plan: BuildPlan, train: Sequence[StoredSet]) -> StoredSets:
    """Sets that no text had, from a space tuned on the training texts alone."""
    if not plan.sets:
        return StoredSets(lines=[], accuracy=[])
    # Late: the encoder of a folder needs transformers.
    from armillary.methods.ultragen.encoders import MeanPooled

    encoder = None if plan.encoder is None else MeanPooled.open(plan.encoder)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The space tells")  # the page says it
        space = AttributeSpace.fit(
            [document.attributes for document in train], encoder=encoder, config=plan.space, label="tune the space"
        )
    sets = space.expand(plan.sets, config=plan.expansion, label="draw sets")
    lines = [stored(own, set_seed(plan.seed, place)).line() for place, own in enumerate(sets)]
    return StoredSets(lines=lines, accuracy=space.accuracy, doubt=space.doubt)


def paired(
    loaded: "LoadedModel",
    sets: Sequence[StoredSet],
    plan: PairPlan,
    parts: Parts,
    label: str = "draw responses",
) -> Iterator[StoredPairs]:
    """Pairs of the model's responses to these sets, some sets at a time, each kept as it is finished.

    UsageError before anything is drawn where a prompt leaves no room for the response.
    """
    from armillary.methods.ultragen.sampling import require_room, sampler_of

    require_room(loaded, [own.prompt for own in sets], plan.sampling.max_new_tokens)
    sampler = sampler_of(loaded, plan.sampling)

    def draw(start: int) -> Callable[[], StoredPairs]:
        def some() -> StoredPairs:
            chosen = sets[start : start + SETS_AT_ONCE]
            made = preferences(
                [own.attributes for own in chosen],
                sampler,
                config=plan.config,
                requests=[own.prompt for own in chosen],
                seed=set_seed(plan.seed, start),
            )
            lines = [dumps(pair.row(chat=plan.chat)) for pair in made.pairs]
            return StoredPairs(lines=lines, scores=made.scores, left_out=made.left_out)

        return some

    with counted(label, len(sets)) as bar:
        for start in range(0, len(sets), SETS_AT_ONCE):
            yield parts.decoded(StoredPairs, f"pairs from {start}", draw(start))
            bar.advance(min(SETS_AT_ONCE, len(sets) - start))
