"""How far each tensor moved, from the models' files before any forward pass.

Of each matrix W and its change D: the norm ratio |D| / |W| (Frobenius), the stable rank |D|^2 / s1(D)^2 of the change
(1 where it is one direction, near the full rank where it is noise), and the overlap of the leading output directions
of D and W, |U_D' U_W|^2 / k, which is k / rows by chance (Hu et al. 2021, arXiv 2106.09685, section 7). An adapter is
read from its factors: no full matrix is built.

Legend: O outputs, I inputs, R rank of an adapter, K directions, M neurons of an FFN.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from armillary.diff.evidence import Evidence
from armillary.diff.where.tensors import Tensors, adapter_of, aligned, tensors_of
from armillary.errors import ModelError, UsageError
from armillary.models.adapters.lora import Lora
from armillary.progress import track

DIRECTIONS, MORE = 8, 8
"""Leading directions that are compared, and how many more the random projection draws to find them (Halko, Martinsson
and Tropp 2011)."""

REORDERED = 0.5
"""Norm ratio of the matrix that an FFN writes with, from which on its neurons are looked for in another order: no
training that keeps a model's function moves a matrix so far."""

LIKENESSES = 2**22
"""Pairs of neurons whose likeness exists at a time: 16 MB, a small part of one matrix of a large model."""

_LAYER = re.compile(r"(?:^|\.)(\d+)\.(.+)$")


@dataclass(frozen=True, kw_only=True)
class TensorChange:
    """One tensor in both models."""

    name: str
    layer: int | None
    """None outside the layers."""

    kind: str
    """What is left of the name within a layer: "mlp.down_proj"."""

    norm: float
    """Frobenius norm of base's."""

    change: float
    """Frobenius norm of after's less base's."""

    rounded: str = ""
    """The coarser dtype that the one rounded to gives the other, bit for bit; empty where none does."""

    stable_rank: float | None = None
    overlap: float | None = None
    """Of the leading output directions of the change with base's; None for a vector, or no change."""

    chance: float | None = None
    """What ``overlap`` is for directions that have nothing to do with each other."""

    @property
    def moved(self) -> float:
        """The change that no rounding explains."""
        return 0.0 if self.rounded else self.change


@dataclass(frozen=True, kw_only=True)
class WeightChanges:
    """All tensors of two models."""

    tensors: list[TensorChange] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    reshaped: list[str] = field(default_factory=list)
    """Of another shape; of an embedding or head with more or fewer rows the common ones are among ``tensors``."""

    missing: list[int] = field(default_factory=list)
    """Layers that after lacks; the others were laid over those of base that they are."""

    extra: list[int] = field(default_factory=list)
    """Layers of its own that after has besides base's."""

    reordered: list[int] = field(default_factory=list)
    """Layers whose FFN neurons stand in another order in after; they were laid over each other first."""

    dtypes: dict[str, list[str]] = field(default_factory=dict)
    """Of each side, the dtypes of its files."""

    adapter: str = ""
    """What the adapter is, in words; empty where two whole models are compared."""

    problem: str = ""
    """Why nothing could be compared."""


def measure(evidence: Evidence) -> WeightChanges:
    """Reads both models' files once; kept, since the section on identity asks too."""
    return evidence.parts.decoded(WeightChanges, "weights of the files", lambda: _measured(evidence))


def _measured(evidence: Evidence) -> WeightChanges:
    base, after = (evidence.pair.origins[side] for side in ("base", "after"))
    with ExitStack() as stack:
        try:
            first = stack.enter_context(tensors_of(base))
            lora = adapter_of(after.folder if after.ready is None else None, first, base.name)
            second = stack.enter_context(tensors_of(after)) if lora is None else None
        except UsageError:
            raise
        except ModelError as error:  # packed, or with a head of its own kind: the phases may still open it
            return WeightChanges(problem=str(error))
        if lora is not None:
            return adapter_changes(first, lora, after.name, seed=evidence.config.seed)
        assert second is not None
        return weight_changes(first, second, (base.name, after.name), seed=evidence.config.seed)


def weight_changes(base: Tensors, after: Tensors, names: tuple[str, str], *, seed: int = 0) -> WeightChanges:
    """Every tensor of two whole models, one at a time, in float32.

    ModelError for weights that are not finite, with the model's name and the first such tensor.
    """
    after, missing, extra = aligned(base, after)
    both = [name for name in base.shapes if name in after.shapes]
    fitting = [name for name in both if _common(base.shapes[name], after.shapes[name], name) is not None]
    changes: list[TensorChange] = []
    reordered: list[int] = []
    groups = list(_by_layer(fitting))
    for layer, members in track(groups, "Comparing the weights"):
        orders = {} if layer is None else _reordering(base, after, members)
        if layer is not None and orders:
            reordered.append(layer)
        for name in members:
            rows = _common(base.shapes[name], after.shapes[name], name)
            before, now = (
                _finite(side.tensor(name), name, of)[:rows] for side, of in zip((base, after), names, strict=True)
            )
            if name in orders:
                dimension, order = orders[name]
                now = now.index_select(dimension, order)
            changes.append(_change(name, before, now, seed))
    return WeightChanges(
        tensors=changes,
        added=sorted(after.shapes.keys() - base.shapes.keys()),
        removed=sorted(base.shapes.keys() - after.shapes.keys()),
        reshaped=[name for name in both if base.shapes[name] != after.shapes[name]],
        missing=missing,
        extra=extra,
        reordered=reordered,
        dtypes={side: sorted(set(of.dtypes.values())) for side, of in (("base", base), ("after", after))},
    )


def adapter_changes(base: Tensors, lora: Lora, name: str, *, seed: int = 0) -> WeightChanges:
    """The same of a LoRA, from its factors; base's tensors that it leaves alone are equal and only counted.

    UsageError where it changes a matrix that the base lacks or has in another shape.
    """
    paths = {f"{path}.weight": change for path, change in lora.changes.items()}
    changes: list[TensorChange] = []
    for path in track(list(base.shapes), "Comparing the weights"):
        layer, kind = _place(path)
        before = base.tensor(path).float()
        change = paths.pop(path, None)
        if change is None:
            changes.append(TensorChange(name=path, layer=layer, kind=kind, norm=float(before.norm()), change=0.0))
            continue
        a_RI, b_OR = change.a_RI.double(), change.b_OR.double() * change.scale
        shape = (len(b_OR), a_RI.shape[1])
        if tuple(before.shape) not in (shape, shape[::-1]):
            raise UsageError(
                f"{name} changes {path} as a matrix of {list(shape)}, and its base has {list(before.shape)}."
            )
        before_OI = before if tuple(before.shape) == shape else before.T  # GPT-2 keeps its matrices turned
        # B A = Q_B (R_B R_A') Q_A', so that the small matrix in the middle has all singular values.
        q_OR, r_B = torch.linalg.qr(b_OR)
        r_A = torch.linalg.qr(a_RI.T)[1]
        u_RR, s_R, _ = torch.linalg.svd(r_B @ r_A.T)
        norm = float(s_R.norm())
        count = min(DIRECTIONS, len(s_R))
        overlap, chance = _overlap((q_OR @ u_RR[:, :count]).float(), before_OI, count, seed)
        changes.append(
            TensorChange(
                name=path,
                layer=layer,
                kind=kind,
                norm=float(before.norm()),
                change=norm,
                stable_rank=norm**2 / float(s_R[0]) ** 2 if norm else None,
                overlap=overlap if norm else None,
                chance=chance if norm else None,
            )
        )
    for path in paths:
        # A head that is the embedding is not listed beside it.
        if not path.endswith("lm_head.weight"):
            raise UsageError(f"{name} changes {path}, which its base does not have: it is an adapter of another base.")
    ranks = sorted({len(change.a_RI) for change in lora.changes.values()})
    rank = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranks[0]} to {ranks[-1]}"
    words = f"a LoRA of {rank} on {len(lora.changes)} matrices ({lora.parameters:,} numbers)"
    return WeightChanges(tensors=changes, adapter=words, dtypes={"base": sorted(set(base.dtypes.values()))})


def _change(name: str, before: Tensor, now: Tensor, seed: int) -> TensorChange:
    layer, kind = _place(name)
    if torch.equal(before, now):
        return TensorChange(name=name, layer=layer, kind=kind, norm=float(before.norm()), change=0.0)
    delta = now - before
    same = TensorChange(name=name, layer=layer, kind=kind, norm=float(before.norm()), change=float(delta.norm()))
    # One of them is the other in fewer digits.
    rounded = next(
        (
            str(dtype)[6:]
            for dtype in (torch.bfloat16, torch.float16)
            if torch.equal(before.to(dtype).float(), now) or torch.equal(now.to(dtype).float(), before)
        ),
        "",
    )
    if before.ndim < 2 or rounded:
        return replace(same, rounded=rounded)
    delta_OI, before_OI = delta.flatten(0, -2), before.flatten(0, -2)
    count = min(DIRECTIONS, *delta_OI.shape)
    directions_OK, largest = _leading(delta_OI, count, seed)
    overlap, chance = _overlap(directions_OK, before_OI, count, seed)
    return replace(same, stable_rank=(same.change / largest) ** 2, overlap=overlap, chance=chance)


def _leading(matrix_OI: Tensor, count: int, seed: int) -> tuple[Tensor, float]:
    """The leading left singular directions ``[o, k]`` and the largest singular value, by random projection with two
    power iterations."""
    generator = torch.Generator().manual_seed(seed)
    width = min(count + MORE, *matrix_OI.shape)
    q = torch.linalg.qr(matrix_OI @ torch.randn(matrix_OI.shape[1], width, generator=generator))[0]
    for _ in range(2):
        q = torch.linalg.qr(matrix_OI @ torch.linalg.qr(matrix_OI.T @ q)[0])[0]
    u, s, _ = torch.linalg.svd(q.T @ matrix_OI, full_matrices=False)
    return (q @ u)[:, :count], float(s[0])


def _overlap(directions_OK: Tensor, before_OI: Tensor, count: int, seed: int) -> tuple[float, float]:
    count = min(count, *before_OI.shape)
    own_OK, _ = _leading(before_OI, count, seed)
    return float((own_OK.T @ directions_OK).square().sum()) / count, count / len(before_OI)


def _finite(tensor: Tensor, name: str, model: str) -> Tensor:
    value = tensor.float()
    if not bool(value.isfinite().all()):
        count = int((~value.isfinite()).sum())
        what = "a number that is" if count == 1 else f"{count:,} numbers that are"
        raise ModelError(f"{model} holds {what} not finite (NaN or infinite), in {name}.")
    return value


def _place(name: str) -> tuple[int | None, str]:
    """Layer of a tensor and what it is there."""
    match = _LAYER.search(name)
    short = (match[2] if match else name).removesuffix(".weight")
    return (int(match[1]) if match else None), short if match else short.rpartition(".")[2]


def _by_layer(names: Iterable[str]) -> Iterator[tuple[int | None, list[str]]]:
    layers: dict[int | None, list[str]] = {}
    for name in names:
        layers.setdefault(_place(name)[0], []).append(name)
    yield from layers.items()


def _common(first: tuple[int, ...], second: tuple[int, ...], name: str) -> int | None:
    """Rows that two tensors have in common; None where they can't be laid over each other. A vector or matrix of
    tokens may have grown at its end."""
    if first == second:
        return first[0] if first else None
    tokens = re.search(r"embed|wte|lm_head|embed_out|output", name) and _place(name)[0] is None
    return min(first[0], second[0]) if tokens and first and second and first[1:] == second[1:] else None


# Neurons in another order: the rows of the matrices that read, and the columns of the one that writes, change together
# and the function stays.


def _reordering(base: Tensors, after: Tensors, members: list[str]) -> Mapping[str, tuple[int, Tensor]]:
    """Of the tensors of a layer whose neurons stand in another order: along which dimension, and after's index of
    base's neuron; empty where they stand as they did."""
    vectors = [name for name in members if len(base.shapes[name]) == 1]
    for block, names in _blocks(base, members).items():
        shapes = {name: base.shapes[name] for name in names}
        widths = {size for shape in shapes.values() if len(shape) == 2 and shape[0] != shape[1] for size in shape}
        # The width of the hidden state is also that of every norm of the layer.
        hidden = {base.shapes[name][0] for name in vectors if name not in shapes}
        neurons = widths - hidden
        if len(neurons) != 1 or any(base.shapes[name] != after.shapes[name] for name in names):
            continue
        (width,) = neurons
        along = {name: shape.index(width) for name, shape in shapes.items() if width in shape}
        probe = next((name for name in along if len(shapes[name]) == 2), None)
        if probe is None or re.search("att", block):
            continue
        pair = [side.tensor(probe).float() for side in (base, after)]
        if float((pair[1] - pair[0]).norm()) < REORDERED * float(pair[0].norm()):
            continue
        # A row for each neuron: what it reads and writes.
        matrices = [name for name in along if len(shapes[name]) == 2]
        rows_a, rows_b = (
            torch.cat([side.tensor(name).float().movedim(along[name], 0) for name in matrices], dim=1)
            for side in (base, after)
        )
        first, second = (torch.nn.functional.normalize(rows, dim=1) for rows in (rows_a, rows_b))
        # Of every pair the likeness, for some neurons at a time: the square of their number is never stored.
        best = [(some @ second.T).max(dim=1) for some in first.split(max(1, LIKENESSES // width))]
        order = torch.cat([one.indices for one in best])
        is_order = len(order.unique()) == width and not torch.equal(order, torch.arange(width))
        if is_order and float(torch.cat([one.values for one in best]).mean()) > REORDERED:
            return {name: (dimension, order) for name, dimension in along.items()}
    return {}


def _blocks(base: Tensors, members: list[str]) -> dict[str, list[str]]:
    """The matrices and biases of a layer by the block that holds them: "model.layers.0.mlp"."""
    blocks: dict[str, list[str]] = {}
    for name in members:
        parts = name.split(".")
        if base.shapes[name] and len(parts) > 2:
            blocks.setdefault(".".join(parts[:-2]), []).append(name)
    return blocks
