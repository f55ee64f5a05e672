"""Are the weights of two models related? What can be laid over each other is compared, with an exact test.

If B was trained on its own, the coordinates of its hidden state stand in no order: initial weights are drawn and
trained alike for all of them, so that B with its coordinates permuted is as likely as B itself (exchangeable copies:
Zhu, Ahmed, Kuditipudi and Liang, "Independence Tests for Language Models", ICML 2025, arXiv 2502.12292). Statistic and
rule are ours: layers and FFN neurons are paired by the even coordinates, and matrices are tested by permuting the odd
ones, so that the search for pairs can't make the test lean.
Legend: H hidden size, R rows of a matrix, M neurons, K matrices, P permutations, C coordinates that are tested.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers.pytorch_utils import Conv1D

from armillary.errors import ModelError
from armillary.methods.modeldiff.core import Floats
from armillary.models.feed_forward import feed_forward, weight_OI
from armillary.models.loaded import LoadedModel
from armillary.progress import track

PERMUTATIONS = 999
"""With the order as it is, the smallest p-value is 0.001."""

LEVEL = 0.01
"""Corrected p-value up to which a matrix counts as related."""

TESTED_ROWS = 512
"""Rows of a matrix that the test reads, evenly spaced: a sum over more would tell no copy from a stranger better."""

MOST_NEURONS = 8192
"""Wider FFNs are compared in their order: the table of all pairs would take gigabytes."""

COUNTERPART = 0.5
"""Mean absolute cosine of a neuron's rows from which on two neurons are counterparts; for strangers it is some
0.8 / sqrt(H)."""

_WRITES = ("o_proj", "out_proj", "c_proj", "dense", "wo", "down_proj", "fc2")
"""Names of square matrices that write to the hidden state; of all others the shape tells."""

Rows = dict[str, Tensor]
"""Matrices by name, each ``[r, h]`` with the coordinates of the hidden state last."""


@dataclass(frozen=True, kw_only=True)
class MatrixPair:
    """One matrix of B laid over its counterpart in A."""

    name: str
    """Within its layer; "embedding" and "head" outside."""

    layers: tuple[int, int] | None
    """A's layer and B's; None outside the layers."""

    cosine: float
    """Mean over rows of the cosine of A's row with B's, over the odd coordinates."""

    p_value: float
    """Share of permutations, with the order as it is among them, in which the largest standardised cosine of *all*
    matrices is as large as this one: corrected for their number (Westfall and Young 1993, max-T)."""

    equal: float
    """Share of entries that are the same number in both, those apart that are 0 in both."""

    difference: float
    """Frobenius norm of B less A, relative to A's."""

    entries: int


@dataclass(frozen=True, kw_only=True)
class WeightComparison:
    """What two sets of weights have in common."""

    matrices: tuple[MatrixPair, ...]
    compared: float
    """Share of B's weights (entries of matrices) that were laid over A's."""

    neurons: float | None
    """Share of B's FFN neurons with a counterpart in A; None where no FFN could be read."""

    reordered: int
    """Layers in which B's neurons stand in another order."""

    notes: tuple[str, ...] = ()
    """What was matched or left out, a sentence each."""

    @property
    def related(self) -> list[MatrixPair]:
        """Matrices that are related beyond chance."""
        return [pair for pair in self.matrices if pair.p_value <= LEVEL]

    @property
    def equal(self) -> float:
        """Share of all compared entries that are the same number."""
        entries_K = [pair.entries for pair in self.matrices]
        return float(np.average([pair.equal for pair in self.matrices], weights=entries_K)) if entries_K else 0.0

    @property
    def difference(self) -> float:
        """Root mean square over entries of the matrices' relative differences."""
        entries_K = [pair.entries for pair in self.matrices]
        return float(np.sqrt(np.average([pair.difference**2 for pair in self.matrices], weights=entries_K)))

    def sentence(self) -> str:
        """In words."""
        if not self.matrices:
            return "No matrix of the one can be laid over one of the other"
        cosines = np.quantile([pair.cosine for pair in self.matrices], [0, 0.5, 1])
        words = (
            f"{len(self.related)} of {len(self.matrices)} matrices ({self.compared:.0%} of B's weights) are related "
            f"beyond chance (exact permutation test, corrected p of {LEVEL:g} or less), with cosines of "
            f"{cosines[1]:.3f} in the middle ({cosines[0]:.3f} to {cosines[2]:.3f}); {self.equal:.1%} of the entries "
            f"are the same number, and the difference has {self.difference:.3g} times the norm"
        )
        if self.neurons is not None:
            words += f"; {self.neurons:.0%} of the FFN neurons have a counterpart"
        return words + (f" ({self.reordered} layers in another order)" if self.reordered else "")


@torch.no_grad()
def compare_weights(a: LoadedModel, b: LoadedModel, *, seed: int = 0) -> WeightComparison:
    """Every matrix of ``b`` against its counterpart in ``a``: layers, FFN neurons and tokens are paired first.

    Reads floating-point weights of any dtype, in float32. What has no counterpart (another hidden size, other names)
    is left out, and the notes say so. A rotation of the hidden state that keeps the function hides descent from it.
    """
    hidden = a.anatomy.hidden_size
    if hidden != b.anatomy.hidden_size:
        note = f"The hidden sizes are {hidden} and {b.anatomy.hidden_size}, so that no weights can be compared."
        return WeightComparison(matrices=(), compared=0.0, neurons=None, reordered=0, notes=(note,))
    layers, notes = _paired_layers(a, b)
    pairs: list[MatrixPair] = []
    statistics: list[Floats | None] = []
    neurons, reordered = [], 0
    generator = np.random.default_rng(seed)
    odd = torch.arange(1, hidden, 2)
    orders_PC = torch.from_numpy(np.stack([generator.permutation(len(odd)) for _ in range(PERMUTATIONS)]))

    def add(name: str, at: tuple[int, int] | None, a_RH: Tensor, b_RH: Tensor, rescales: bool = False) -> None:
        """Measure two matrices, rows in one order; a neuron's row is brought to the size and sign of A's."""
        equal = int(((a_RH == b_RH) & (a_RH != 0)).sum()) / max(1, int(((a_RH != 0) | (b_RH != 0)).sum()))
        if rescales:
            products_R, norms_R = (a_RH[:, ::2] * b_RH[:, ::2]).sum(1), b_RH.norm(dim=1).clamp_min(1e-30)
            b_RH = b_RH * (a_RH.norm(dim=1) / norms_R * products_R.sign())[:, None]
        unit_a_RC, unit_b_RC = (normalize(rows[:, odd], dim=1) for rows in (a_RH, b_RH))
        statistics.append(_permuted(unit_a_RC, unit_b_RC, orders_PC))
        norm = float(a_RH.norm())
        pairs.append(
            MatrixPair(
                name=name.removesuffix(".weight"),
                layers=at,
                cosine=float((unit_a_RC * unit_b_RC).sum() / max(1, int(unit_a_RC.any(1).sum()))),
                p_value=1.0,
                equal=equal,
                difference=float((b_RH - a_RH).norm()) / norm if norm else 0.0,
                entries=a_RH.numel(),
            )
        )

    for name, a_RH, b_RH in _token_rows(a, b):
        add(name, None, a_RH, b_RH)
    for i, j in track(layers, "Comparing the weights"):
        rows_a, rows_b = _layer_rows(a, i), _layer_rows(b, j)
        match = _matched_neurons(a, b, (i, j), rows_a, rows_b)
        if match is not None:
            neurons.append(match.alike_M)
            reordered += bool((match.order_a_M != match.order_b_M)[match.alike_M].any())
        for name in (name for name in rows_a if name in rows_b):
            if match is not None and name in match.names:
                add(name, (i, j), rows_a[name][match.order_a_M], rows_b[name][match.order_b_M], rescales=True)
            elif rows_a[name].shape == rows_b[name].shape:
                add(name, (i, j), rows_a[name], rows_b[name])
    entries = sum(weight.numel() for weight in b.model.parameters() if weight.dim() >= 2)
    return WeightComparison(
        matrices=_corrected(pairs, statistics),
        # A head that is the embedding has been counted with it.
        compared=sum(pair.entries for pair in pairs if pair.name != "head" or not b.anatomy.tied) / max(1, entries),
        neurons=float(torch.cat(neurons).float().mean()) if neurons else None,
        reordered=reordered,
        notes=tuple(notes),
    )


def _permuted(a_RC: Tensor, b_RC: Tensor, orders_PC: Tensor) -> Floats | None:
    """Standardised sum of products in the order as it is, then under each permutation ``[1 + p]``; None if constant.

    With ``S = A'B`` a permutation's sum is ``sum_c S[c, order[c]]``, whose mean and variance over all permutations are
    known (Hoeffding 1951).
    """
    chosen = torch.linspace(0, len(a_RC) - 1, min(len(a_RC), TESTED_ROWS)).long()
    s_CC = (a_RC[chosen].T @ b_RC[chosen]).double()
    size, mean = len(s_CC), s_CC.mean()
    centred_CC = s_CC - s_CC.mean(0) - s_CC.mean(1, keepdim=True) + mean
    variance = float(centred_CC.square().sum()) / max(1, size - 1)
    if variance <= 0 or size < 2:
        return None
    rows = torch.arange(size)
    sums = torch.cat([s_CC.diagonal().sum()[None], s_CC[rows, orders_PC].sum(1)])
    standardised: Floats = ((sums - size * mean) / variance**0.5).numpy()
    return standardised


def _corrected(pairs: list[MatrixPair], statistics: list[Floats | None]) -> tuple[MatrixPair, ...]:
    """The pairs with p-values that hold for all of them together."""
    known = [values for values in statistics if values is not None]
    if not known:
        return tuple(pairs)
    largest_P = np.max(known, axis=0)
    # A hair below itself, so that the order as it is counts whatever the rounding.
    p_values = [
        1.0 if values is None else float((largest_P[1:] >= values[0] - 1e-9).sum() + 1) / len(largest_P)
        for values in statistics
    ]
    return tuple(replace(pair, p_value=p_value) for pair, p_value in zip(pairs, p_values, strict=True))


def _token_rows(a: LoadedModel, b: LoadedModel) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Embedding and, where one of the models has its own, head: rows of the tokens that both have, by their string."""
    ids_a, ids_b = (
        {string: id for string, id in loaded.tokenizer.get_vocab().items() if id in loaded.known_ids}
        for loaded in (a, b)
    )
    shared = sorted(ids_a.keys() & ids_b.keys(), key=ids_a.__getitem__)
    rows_a, rows_b = (torch.tensor([ids[string] for string in shared], dtype=torch.long) for ids in (ids_a, ids_b))
    tables: list[tuple[str, nn.Module, nn.Module]] = [("embedding", a.anatomy.embedding, b.anatomy.embedding)]
    if not (a.anatomy.tied and b.anatomy.tied):
        tables.append(("head", a.anatomy.head, b.anatomy.head))
    for name, first, second in tables:
        weight_a, weight_b = (_plain(weight_OI(module)) for module in (first, second))
        if shared and weight_a.shape[1] == weight_b.shape[1] == a.anatomy.hidden_size:
            yield name, weight_a[rows_a], weight_b[rows_b]


def _layer_rows(loaded: LoadedModel, layer: int) -> Rows:
    """Every matrix of a layer that reads or writes the hidden state; experts one after the other."""
    hidden, rows = loaded.anatomy.hidden_size, {}
    for path, module in loaded.anatomy.layers[layer].named_modules():
        for name, weight in module.named_parameters(prefix=path, recurse=False):
            weight = weight_OI(module) if isinstance(module, nn.Linear | Conv1D) and weight.dim() == 2 else weight
            if weight.dim() not in (2, 3) or hidden not in weight.shape[-2:] or not weight.is_floating_point():
                continue
            square = weight.shape[-1] == weight.shape[-2]
            writes = path.endswith(_WRITES) if square else weight.shape[-2] == hidden
            # Which way a square tensor of experts lies can't be told.
            if not (square and weight.dim() == 3):
                rows[name] = _plain(weight.transpose(-1, -2) if writes else weight).flatten(0, -2)
    return rows


def _plain(weight: Tensor) -> Tensor:
    return weight.detach().float().cpu()


def _paired_layers(a: LoadedModel, b: LoadedModel) -> tuple[list[tuple[int, int]], list[str]]:
    """Layers of A with layers of B: in their order, or by the likeness of some rows where that fits far better."""
    depths = (a.anatomy.num_layers, b.anatomy.num_layers)
    signatures = [[_signature(loaded, layer) for layer in range(loaded.anatomy.num_layers)] for loaded in (a, b)]
    names = sorted(set.intersection(*(set(rows) for model in signatures for rows in model)))
    names = [name for name in names if len({rows[name].shape for model in signatures for rows in model}) == 1]
    if not names:
        return [], ["The layers have no matrices of the same names and shapes."]
    first, second = (
        torch.stack([torch.cat([rows[name] for name in names]) for rows in model]) for model in signatures
    )
    likeness = ((first @ second.T) / len(names)).numpy()
    rows, columns = linear_sum_assignment(likeness, maximize=True)
    if depths[0] == depths[1] and likeness[rows, columns].mean() < likeness.diagonal().mean() + 0.1:
        return [(layer, layer) for layer in range(depths[0])], []
    note = f"{len(rows)} layers of A ({depths[0]}) and B ({depths[1]}) were paired by their likeness."
    return list(zip(rows.tolist(), columns.tolist(), strict=True)), [note]


def _signature(loaded: LoadedModel, layer: int) -> Rows:
    """Even coordinates of some rows of each matrix, scaled to a norm of 1 together: ``[r * c]``."""
    matrices = _layer_rows(loaded, layer)
    chosen = {
        name: rows[torch.linspace(0, len(rows) - 1, min(len(rows), 32)).long(), ::2] for name, rows in matrices.items()
    }
    return {name: normalize(rows, dim=1).flatten() / len(rows) ** 0.5 for name, rows in chosen.items()}


class _Match(NamedTuple):
    """FFN neurons of two layers, paired; whether the two of a pair are alike where they were not paired by it."""

    names: list[str]
    order_a_M: Tensor
    order_b_M: Tensor
    alike_M: Tensor


def _matched_neurons(
    a: LoadedModel, b: LoadedModel, pair: tuple[int, int], rows_a: Rows, rows_b: Rows
) -> _Match | None:
    """Each neuron of B with one of A by what it reads and writes on the even coordinates, whatever its scale."""
    shared = _neuron_matrices(a, pair[0]) & _neuron_matrices(b, pair[1]) & rows_a.keys() & rows_b.keys()
    if not shared:
        return None
    names = sorted(shared)
    even, odd = (
        [[normalize(rows[name][:, start::2], dim=1) for name in names] for rows in (rows_a, rows_b)]
        for start in (0, 1)
    )

    def alike(halves: list[list[Tensor]], first: Tensor, second: Tensor) -> Tensor:
        """Whether the mean absolute cosine of neurons in these orders reaches ``COUNTERPART``."""
        cosines = [(x[first] * y[second]).sum(1).abs() for x, y in zip(*halves, strict=True)]
        return torch.stack(cosines).mean(0) >= COUNTERPART

    sizes = len(even[0][0]), len(even[1][0])
    first = second = torch.arange(min(sizes))
    in_order = sizes[0] == sizes[1] and float(alike(even, first, second).float().mean()) >= 0.5
    if not in_order and max(sizes) <= MOST_NEURONS:
        table_MM = torch.zeros(sizes)
        for x, y in zip(*even, strict=True):
            table_MM += (x @ y.T).abs()
        first, second = (torch.from_numpy(order) for order in linear_sum_assignment(table_MM.numpy(), maximize=True))
    return _Match(names, first, second, alike(odd, first, second))


def _neuron_matrices(loaded: LoadedModel, layer: int) -> set[str]:
    """Names, within the layer, of the matrices of its FFN; none where it holds experts or a fused matrix."""
    try:
        parts = feed_forward(loaded, layer)
    except ModelError:
        return set()
    matrices = (*parts.reads, parts.write)
    modules = loaded.anatomy.layers[layer].named_modules()
    return {f"{path}.weight" for path, module in modules if module in matrices}
