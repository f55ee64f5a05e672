"""Instrument: which blocks carry what after gained and lost, by putting base's weights back into one block at a time.

After is in memory; a block's weights come from base's files (of an adapter, its change is silenced there), a few texts
and answers are read again, and the block is put back as it was. What of the change this undoes is

    share(block) = sum_r (nll_after - nll_restored)_r / sum_r (nll_after - nll_base)_r,

nats a token of each row r. Up to a block nothing differs, so that its input is read once for all and only the layers
from it on are run. Legend: R rows, T tokens, D hidden size, B blocks.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from armillary.diff.effect import Described, Effect, Instrument
from armillary.diff.evidence import Evidence
from armillary.diff.phases import material
from armillary.diff.plan import Sizes
from armillary.diff.where.tensors import Tensors, depth_of, tensors_of
from armillary.errors import ModelError
from armillary.models import LoadedModel
from armillary.models.adapters.switched import silenced
from armillary.models.batches import pad, run_body
from armillary.models.prompts import given_tokens
from armillary.numerics.intervals import Interval, bootstrap_weighted
from armillary.progress import track
from armillary.records.sections import Cell, Figure, Lines, Section, Series, Table
from armillary.scoring.nll import chunked_nll

What = Literal["gain", "loss", "drift"]

ROW_TOKENS, LONGEST = 32, 96
"""Tokens of a text that are read again, and of an answer together with its prompt at most: a template takes some
dozens."""

LEAST = 0.02
"""Nats a token by which rows must have changed on average, so that a share of the change means something."""

LEAST_ROWS = 3

TOLD = 12
"""Rows from which on their signs can tell a share from chance: among forty comparisons 40 * 2 / 2 ** 12 is 0.02."""

FEW = " So few rows can hardly tell a share from chance: no line of the verdict is to be expected of them."

SHOWN = 5
"""Blocks of each group in the table."""

EVEN = 3.0
"""A block is a place of the change from so many times the share on that it would have if all blocks had as much."""

PATTERNS = 20_000
"""Patterns of signs under which a share is held against chance; all there are of 14 rows or fewer."""

OUTSIDE = "outside the layers"
"""The block of embedding, last norm and head."""


@dataclass(frozen=True, kw_only=True)
class BlockShare:
    """What putting one block back does to each row, nats a token."""

    name: str
    layer: int | None
    undone: list[float]
    """NLL under after less NLL with the block put back."""


@dataclass(frozen=True, kw_only=True)
class GroupShares:
    """Rows on which after gained, lost or drifted."""

    what: What
    changed: list[float]
    """NLL under after less NLL under base, nats a token: below 0 where after gained."""

    blocks: list[BlockShare]


@dataclass(frozen=True, kw_only=True)
class Restored:
    """All groups."""

    groups: list[GroupShares] = field(default_factory=list)
    blocks: int = 0
    """Blocks of the model, those among them that are equal in both and were left alone."""

    problem: str = ""
    """Why no block could be put back."""


@dataclass(frozen=True, kw_only=True)
class ReadAgain:
    """Something that is read again."""

    ids: list[int]
    start: int
    """Index of the first token that is scored."""

    base: float
    after: float
    """Nats a token of the scored ones, as the phases have them."""


def rows_of(evidence: Evidence, loaded: LoadedModel) -> dict[What, list[ReadAgain]]:
    """The rows that changed most each way; only of models that have the same tokens."""
    most = _rows(evidence.sizes)
    own, scored = material(loaded, evidence), evidence.text_scores
    rows = []
    before = given_tokens(loaded, own.texts)
    for index, ids in enumerate(own.texts):
        count = min(len(ids), ROW_TOKENS) - before[index]
        place = scored.place(index)
        pieces = [np.asarray(kept.logprob[place][:count]) for kept in (scored, evidence.text_crossed["after"])]
        if count > 0:
            rows.append(_row(ids[: before[index] + count], before[index], pieces))
    for index, (question, answers) in enumerate(zip(evidence.questions, own.expected, strict=True)):
        before_answer, choices = own.questions[index], question.choices or (str(question.answer),)
        right = choices.index(str(question.answer)) if question.answer in choices else 0
        known = [evidence.expected[side][index] for side in ("base", "after")]
        ids = answers[right]
        if ids and len(before_answer) + len(ids) <= LONGEST:
            rows.append(_row([*before_answer, *ids], len(before_answer), [value[right] for value in known], len(ids)))
    drifted = []
    answers_of_base, read = evidence.own["base", "sampled"], evidence.crossed["after", "base", "sampled"]
    for index, prompt_ids in enumerate(own.rows):
        place = answers_of_base.place(index)
        room = LONGEST - len(prompt_ids)
        ids = [int(token) for token in answers_of_base.ids[place]][: max(0, room)]
        pieces = [np.asarray(kept.logprob[place][: len(ids)]) for kept in (answers_of_base, read)]
        if ids:
            drifted.append(_row([*prompt_ids, *ids], len(prompt_ids), pieces))
    gained = sorted((row for row in rows if row.after < row.base), key=lambda row: row.after - row.base)
    lost = sorted((row for row in rows if row.after > row.base), key=lambda row: row.base - row.after)
    drifted.sort(key=lambda row: row.base - row.after)
    chosen: dict[What, list[ReadAgain]] = {"gain": gained[:most], "loss": lost[:most], "drift": drifted[:most]}
    return {
        what: listed
        for what, listed in chosen.items()
        if len(listed) >= LEAST_ROWS and abs(np.mean([row.after - row.base for row in listed])) >= LEAST
    }


def _row(ids: Sequence[int], start: int, logprob: Sequence[Any], tokens: int | None = None) -> ReadAgain:
    count = tokens or len(logprob[0])
    base, after = (-float(np.sum(values)) / count for values in logprob)
    return ReadAgain(ids=[*ids], start=start, base=base, after=after)


def _rows(sizes: Sizes) -> int:
    """Rows of each group, by the budget: below ``TOLD`` blocks are shown, and the verdict has no line of them."""
    return 4 if sizes.budget <= 120 else 14 if sizes.budget <= 600 else 24


def measure(evidence: Evidence) -> Restored:
    """Puts back each block in turn; whatever is changed in the model is put back bit for bit."""
    if not evidence.same_tokens:
        return Restored(problem="the two have different tokens, so their weights don't fit into each other")
    with evidence.opened("after") as loaded:
        rows = rows_of(evidence, loaded)
        if not rows:
            return Restored(problem="nothing that was read changed enough to be traced")
        adapter = evidence.pair.is_adapter
        try:
            with ExitStack() as stack:
                base = None if adapter else stack.enter_context(tensors_of(evidence.pair.origins["base"]))
                return Restored(groups=restored(loaded, base, rows), blocks=loaded.anatomy.num_layers + 1)
        except ModelError as error:
            return Restored(problem=str(error).removesuffix("."))


@torch.no_grad()
def restored(loaded: LoadedModel, base: Tensors | None, rows: dict[What, list[ReadAgain]]) -> list[GroupShares]:
    """What each block's return to ``base`` does to the rows; without base a switched adapter is silenced in it.

    ModelError where no block of the model has the shapes of base's.
    """
    if base is not None:
        own = list(loaded.model.parameters())
        if any(type(parameter) is not nn.Parameter or parameter.is_meta for parameter in own):
            raise ModelError("the weights are packed or out of memory, so that none can be put back.")
        if depth_of(base) != loaded.anatomy.num_layers:
            raise ModelError("the two have different numbers of layers, so that none has its place in the other.")
    blocks: list[tuple[int | None, list[nn.Parameter], list[str]]] = _blocks(loaded, base)
    if not blocks:
        raise ModelError("no layer has the shapes of base's, so that none can be put back.")
    readings = {what: _Reading(loaded, listed) for what, listed in rows.items()}
    shares: dict[What, list[BlockShare]] = {what: [] for what in rows}
    for layer, parameters, names in track(blocks, "Putting blocks back"):
        with _put_back(_parts(loaded, layer), parameters, names, base):
            for what, reading in readings.items():
                undone = reading.unchanged - reading.nll(layer)
                name = OUTSIDE if layer is None else f"layer {layer}"
                shares[what].append(BlockShare(name=name, layer=layer, undone=[float(value) for value in undone]))
    return [
        GroupShares(what=what, changed=[row.after - row.base for row in listed], blocks=shares[what])
        for what, listed in rows.items()
    ]


def _blocks(loaded: LoadedModel, base: Tensors | None) -> list[tuple[int | None, list[nn.Parameter], list[str]]]:
    """Layers, then what lies outside them, with the parameters that base has in the same shape and others."""
    owners = {
        id(parameter): index for index, layer in enumerate(loaded.anatomy.layers) for parameter in layer.parameters()
    }
    grouped: dict[int | None, list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in loaded.model.named_parameters():
        grouped.setdefault(owners.get(id(parameter)), []).append((name, parameter))
    order: list[int | None] = [*range(loaded.anatomy.num_layers), None]
    blocks = []
    for layer in order:
        named = grouped.get(layer, [])
        if base is not None:
            if any(base.shapes.get(name) != tuple(parameter.shape) for name, parameter in named):
                continue
            if all(torch.equal(base.tensor(name).to(value), value) for name, value in named):
                continue  # nothing to put back
        elif not any(module._forward_hooks for part in _parts(loaded, layer) for module in part.modules()):
            continue  # the adapter changes nothing there
        blocks.append((layer, [parameter for _, parameter in named], [name for name, _ in named]))
    return blocks


def _parts(loaded: LoadedModel, layer: int | None) -> list[nn.Module]:
    """The modules of a block; of what lies outside the layers, the smallest ones."""
    if layer is not None:
        return [loaded.anatomy.layers[layer]]
    inside = {module for one in loaded.anatomy.layers for module in one.modules()}
    return [module for module in loaded.model.modules() if module not in inside and not [*module.children()]]


@contextmanager
def _put_back(
    parts: Sequence[nn.Module], parameters: Sequence[nn.Parameter], names: Sequence[str], base: Tensors | None
) -> Iterator[None]:
    """Inside the block of code these parts are base's."""
    with ExitStack() as stack:
        if base is None:
            for part in parts:
                stack.enter_context(silenced(part))
            yield
            return
        own = [parameter.data for parameter in parameters]
        try:
            for name, parameter in zip(names, parameters, strict=True):
                parameter.data = base.tensor(name).to(parameter.data)
            yield
        finally:
            for parameter, value in zip(parameters, own, strict=True):
                parameter.data = value


class _Reading:
    """Rows that are read again and again, from a layer on whose input is kept."""

    def __init__(self, loaded: LoadedModel, rows: Sequence[ReadAgain]) -> None:
        self._loaded, self._rows = loaded, rows
        self._ids_RT, mask_RT = pad([row.ids for row in rows], device=loaded.device)
        self._mask_RT = None if bool(mask_RT.all()) else mask_RT
        self._inputs: list[Tensor] = []
        self._outputs: list[Any] = []
        with ExitStack() as stack:
            for layer in loaded.anatomy.layers:
                hook = layer.register_forward_hook(self._keep, with_kwargs=True)
                stack.callback(hook.remove)
            self.unchanged = self._whole()
        # Layers that take more than the states before them (some share keys between layers) can't be skipped.
        middle = len(self._inputs) // 2
        self._skips = len(self._inputs) == loaded.anatomy.num_layers
        self._skips = self._skips and bool(np.allclose(self.nll(middle), self.unchanged, rtol=1e-4, atol=1e-4))

    def nll(self, layer: int | None) -> NDArray[np.float64]:
        """Nats a token of each row ``[r]``, as the model is now; the layers before this one are as they were."""
        if layer is None or layer == 0 or not self._skips:
            return self._whole()
        with ExitStack() as stack:
            for index, module in enumerate(self._loaded.anatomy.layers[:layer]):
                stack.enter_context(_passing(module, self._inputs[index + 1], self._outputs[index]))
            return self._whole()

    def _keep(self, layer: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        self._inputs.append(cast(Tensor, inputs[0] if inputs else named["hidden_states"]))
        self._outputs.append(None if isinstance(output, Tensor) else tuple(output)[1:])

    def _whole(self) -> NDArray[np.float64]:
        hidden_RTD = run_body(self._loaded, self._ids_RT, self._mask_RT)
        values = []
        for index, row in enumerate(self._rows):
            states_ND = hidden_RTD[index, row.start - 1 : len(row.ids) - 1]
            targets_N = self._ids_RT[index, row.start : len(row.ids)]
            values.append(float(chunked_nll(self._loaded, states_ND, targets_N).double().mean()))
        return np.array(values)


@contextmanager
def _passing(layer: nn.Module, state: Tensor, rest: tuple[Any, ...] | None) -> Iterator[None]:
    """Inside the block of code the layer gives this state without computing anything."""
    had = "forward" in layer.__dict__
    own = layer.forward
    layer.forward = lambda *_, **__: state if rest is None else (state, *rest)
    try:
        yield
    finally:
        if had:
            layer.forward = own
        else:
            del layer.forward


def shares(group: GroupShares, seed: int = 0) -> dict[str, Interval]:
    """Percent of the group's change that each block's return undoes, with a bootstrap over rows."""
    changed_R = np.array(group.changed)

    def share(undone_R: NDArray[np.float64], counts_NR: NDArray[np.float64]) -> NDArray[np.float64]:
        return cast(NDArray[np.float64], 100 * (counts_NR @ undone_R) / (counts_NR @ changed_R))

    return {
        block.name: bootstrap_weighted(
            partial(share, np.array(block.undone)),
            len(changed_R),
            seed=seed,
            how=f"bootstrap over {len(changed_R)} texts and answers",
        )
        for block in group.blocks
    }


def chance(group: GroupShares, seed: int = 0) -> list[float]:
    """For each block, the share of sign patterns over rows under which any block undoes as much on average.

    The signs of a row turn for all blocks together, so that the p holds for all of them (Westfall and Young 1993).
    """
    undone_RB = np.array([block.undone for block in group.blocks]).T
    rows = len(undone_RB)
    if rows <= 14:
        signs_PR = 1.0 - 2.0 * ((np.arange(2**rows)[:, None] >> np.arange(rows)) & 1)
    else:
        signs_PR = np.random.default_rng(seed).integers(2, size=(PATTERNS, rows)) * 2.0 - 1.0
        signs_PR[0] = 1.0  # what was seen is one of the patterns
    largest_P = np.abs(signs_PR @ undone_RB).max(axis=1)
    seen_B = np.abs(undone_RB.sum(axis=0))
    return [float((largest_P >= value * (1 - 1e-9)).mean()) for value in seen_B]


_NAMED = {"gain": "what it gained", "loss": "what it lost", "drift": "the drift of its answers"}


def describe(result: Restored) -> Described:
    """The share of each block, and the block that carries most as a candidate line."""
    effects, rows = [], []
    sentences: list[str] = []
    series: list[Series] = []
    layers: list[str | int | float] = []
    for group in result.groups:
        values, p_values = shares(group), chance(group)
        ranked = sorted(range(len(group.blocks)), key=lambda index: -values[group.blocks[index].name].estimate)
        best = group.blocks[ranked[0]]
        value = values[best.name]
        floor = EVEN * 100 / max(1, result.blocks)
        share = f"{value.estimate:.0f} % of {_NAMED[group.what]}"
        if value.estimate > floor:
            sentences.append(f"{best.name.capitalize()} carries {share}: so much is undone with base's weights there.")
        else:
            sentences.append(f"No block by itself carries much: {best.name} undoes {share}, and no other more.")
        effects.append(
            Effect(
                id=f"restoring/{group.what}",
                kind="where",
                sentence=sentences[-1],
                value=value,
                unit=f"% of {_NAMED[group.what]}",
                p=p_values[ranked[0]],
                floor=floor,
                section="restoring",
            )
        )
        cells: list[list[Cell]] = [
            [_NAMED[group.what], name, value.estimate, value.low, value.high, p_values[index]]
            for index in ranked[:SHOWN]
            for name in [group.blocks[index].name]
            for value in [values[name]]
        ]
        rows += cells
        layers = [block.layer for block in group.blocks if block.layer is not None]
        known = [values[block.name] for block in group.blocks if block.layer is not None]
        series.append(
            Series(
                name=_NAMED[group.what],
                y=[one.estimate for one in known],
                low=[one.low for one in known],
                high=[one.high for one in known],
            )
        )
    counts = ", ".join(f"{len(group.changed)} rows of {_NAMED[group.what]}" for group in result.groups)
    few = any(len(group.changed) < TOLD for group in result.groups)
    section = Section(
        id="restoring",
        title="Which blocks carry it",
        summary=" ".join(sentences) if sentences else f"No block was put back: {result.problem or 'nothing changed'}.",
        meaning="The weights of base are put back into one block of after at a time, and what changed most is read "
        "again. A block that undoes much of a change carries it; blocks that work together each undo all of it, so "
        "that shares need not add up to 100 %, and a block that kept the others in check has a share below 0.",
        caution=f"Read on {counts or 'nothing'}, which were chosen because they changed most: other texts may be "
        f"carried elsewhere.{FEW if few else ''}",
        figures=[
            Figure(
                title="Share of the change that one layer's return undoes",
                data=Lines(x=layers, series=series, x_label="layer", y_label="% undone"),
                alt=" ".join(sentences),
            )
        ]
        if series and layers
        else [],
        tables=[
            Table(
                title="Blocks that carry most",
                columns=["of", "block", "% undone", "low", "high", "p over all blocks"],
                rows=rows,
            )
        ]
        if rows
        else [],
    )
    # Where only one block differs, that it carries all is known before it is put back.
    candidates = [effect for effect, group in zip(effects, result.groups, strict=True) if len(group.blocks) > 1]
    return Described(section=section, effects=candidates, measures={effect.id: effect.value for effect in effects})


def _cost(sizes: Sizes) -> float:
    """Three groups of rows, each read once for every block; layers before it are skipped."""
    tokens = 3 * _rows(sizes) * (ROW_TOKENS + LONGEST) / 2
    return sizes.seconds_per_token * tokens * (sizes.layers / 2 + 1)


RESTORING = Instrument(
    name="restoring", result=Restored, needs="blocks", measure=measure, describe=describe, cost=_cost
)
