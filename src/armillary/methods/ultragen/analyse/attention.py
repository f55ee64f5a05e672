"""Attention dilution: how much of its attention a text pays to each attribute, and whether where it matters.

``a_tj`` is the attention of token t of the response to the tokens of attribute j in the prompt, summed over these and
averaged over layers and heads. Its mean falls as attributes are added (dilution). Selectivity is the mean ``a_tj``
over the tokens that realise attribute j, with the few before them in which the choice was made, divided by the mean
elsewhere (protocol ours).

Legend: T tokens of the response, S tokens up to there, N attributes, H heads.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from armillary.attributes.attribute import Verdict
from armillary.attributes.attribute_set import AttributeSet, Order
from armillary.errors import InsufficientSamplesError, ModelError, UsageError
from armillary.methods.ultragen.sampling import prompt_text
from armillary.models.anatomy import evaluating
from armillary.models.batches import run_body
from armillary.models.loaded import LoadedModel
from armillary.models.prompts import prompt_rows, text_ids, token_spans
from armillary.numerics.intervals import Interval, bootstrap_mean
from armillary.progress import counted
from armillary.scoring.kv_cache import growing_cache, require_cache

BEFORE = 3
"""Tokens before an attribute's own in which its realisation is chosen."""

MOST_REALISING = 0.5
"""Share of the response above which an attribute is realised everywhere (a count of words), so that nothing is
elsewhere."""

CHUNK = 64
"""Tokens of the response in one pass: bounds what is held to [heads, 64, S] of one layer at a time."""


@dataclass(frozen=True, kw_only=True)
class AttributeAttention:
    """One response's attention to the attributes of its prompt, in the set's order."""

    shares: list[float]
    """Mean ``a_tj`` over the response's tokens."""

    even: list[float]
    """The same if each token looked at all tokens before it alike: what the attribute's length alone gives."""

    realising: list[float | None]
    """Mean ``a_tj`` over the tokens that realise the attribute and the few before; None where none or most do."""

    elsewhere: list[float | None]
    """Mean over the response's other tokens."""

    @property
    def selectivity(self) -> float | None:
        """Attention where attributes are realised over attention elsewhere, over those with both; None without any."""
        pairs = [
            (inside, outside)
            for inside, outside in zip(self.realising, self.elsewhere, strict=True)
            if inside is not None and outside is not None
        ]
        total = sum(outside for _, outside in pairs)
        return sum(inside for inside, _ in pairs) / total if total > 0 else None


@torch.inference_mode()
def attention_to_attributes(
    loaded: LoadedModel, attributes: AttributeSet, response: str, *, order: Order = "shuffled", seed: int = 0
) -> AttributeAttention:
    """Attention of the response's tokens, read behind the set's prompt, to the tokens of each attribute's line.

    One layer's attention exists at a time, for ``CHUNK`` tokens of the response. UsageError where the response is
    empty, an attribute's sentence is not in the prompt as it stands, or prompt and response don't fit into the model;
    ModelError for a model without a key-value cache or whose layers give no attention.
    """
    require_cache(loaded, "attention to attributes")
    prompt = prompt_text(loaded, attributes.render(order, seed))
    (prompt_ids,) = prompt_rows(loaded, [prompt])
    response_ids = text_ids(loaded, response)
    if not response_ids:
        raise UsageError("the response is empty: there is nothing whose attention could be read.")
    total = len(prompt_ids) + len(response_ids)
    if loaded.max_positions is not None and total > loaded.max_positions:
        raise UsageError(
            f"a prompt of {len(attributes.attributes)} attributes and its response have {total:,} tokens, and "
            f"{loaded.name} reads {loaded.max_positions:,}; give fewer attributes or shorter responses."
        )
    lines_SN = _line_tokens(loaded, attributes, prompt, order, seed)
    attention_TN = _attention(loaded, prompt_ids, response_ids, lines_SN)
    spans = token_spans(loaded, response)[-len(response_ids) :]
    report = attributes.check(response)
    realised_TN = np.stack([_realising(verdict, spans) for verdict in report.verdicts], axis=1)
    share_N = realised_TN.mean(0)
    known_N = (share_N > 0) & (share_N <= MOST_REALISING)
    inside_N = (attention_TN * realised_TN).sum(0) / np.maximum(realised_TN.sum(0), 1)
    outside_N = (attention_TN * ~realised_TN).sum(0) / np.maximum((~realised_TN).sum(0), 1)
    before_T = len(prompt_ids) + np.arange(1, len(response_ids) + 1)
    return AttributeAttention(
        shares=attention_TN.mean(0).tolist(),
        even=(lines_SN.numpy().sum(0)[None] / before_T[:, None]).mean(0).tolist(),
        realising=[float(value) if known else None for value, known in zip(inside_N, known_N, strict=True)],
        elsewhere=[float(value) if known else None for value, known in zip(outside_N, known_N, strict=True)],
    )


def _line_tokens(loaded: LoadedModel, attributes: AttributeSet, prompt: str, order: Order, seed: int) -> Tensor:
    """Which of the prompt's tokens belong to each attribute's sentence, ``[S, N]`` of 0 and 1, in the set's order."""
    spans = token_spans(loaded, prompt)
    lines_SN = torch.zeros((len(spans), len(attributes.attributes)), dtype=torch.float64)
    columns = {id(attribute): column for column, attribute in enumerate(attributes.attributes)}
    at = 0
    for attribute in attributes.ordered(order, seed):
        line = " ".join(attribute.text.split("\n"))  # as it is rendered
        start = prompt.find(line, at)
        if start < 0:
            raise UsageError(f"the attribute {line!r:.80} does not stand in its prompt as it is written.")
        at = start + len(line)
        for token, (first, last) in enumerate(spans):
            if first < at and last > start:
                lines_SN[token, columns[id(attribute)]] = 1.0
    return lines_SN


def _realising(verdict: Verdict, spans: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    """The response's tokens at which a satisfied attribute stands, and those just before, ``[T]``."""
    marks = np.zeros(len(spans), bool)
    if not verdict.satisfied:
        return marks
    for token, (first, last) in enumerate(spans):
        if any(first < span.end and last > span.start for span in verdict.spans):
            marks[max(0, token - BEFORE) : token + 1] = True
    return marks


def _attention(
    loaded: LoadedModel, prompt_ids: list[int], response_ids: list[int], lines_SN: Tensor
) -> NDArray[np.float64]:
    """``a_tj``, ``[T, N]``."""
    cache = growing_cache()
    with evaluating(loaded.model):
        run_body(loaded, torch.tensor([prompt_ids], device=loaded.device), cache=cache)
        chunks = []
        with _attention_read(loaded, lines_SN.to(loaded.device, torch.float32)) as layers:
            for start in range(0, len(response_ids), CHUNK):
                ids = torch.tensor([response_ids[start : start + CHUNK]], device=loaded.device)
                run_body(loaded, ids, cache=cache)
                if len(layers) != loaded.anatomy.num_layers:
                    kind, there = type(loaded.model).__name__, loaded.anatomy.num_layers
                    raise ModelError(f"{kind} tells the attention of {len(layers)} of its {there} layers, not of all.")
                chunks.append(torch.stack(layers).double().mean(0).cpu().numpy())
                layers.clear()
    return np.concatenate(chunks)


@contextmanager
def _attention_read(loaded: LoadedModel, lines_SN: Tensor) -> Iterator[list[Tensor]]:
    """Inside, each layer that is run adds what its attention gives to the lines, ``[T, N]``, and drops the rest."""
    layers: list[Tensor] = []

    def read(module: nn.Module, inputs: object, outputs: Any) -> None:
        weights = outputs[1] if isinstance(outputs, tuple) and len(outputs) > 1 else None
        if isinstance(weights, Tensor) and weights.dim() == 4:
            # Only the prompt's columns hold lines; a layer with a window may give fewer columns, the latest ones.
            kept = weights[0].float().mean(0)
            full = torch.zeros((kept.shape[0], max(kept.shape[1], len(lines_SN))), device=kept.device)
            full[:, full.shape[1] - kept.shape[1] :] = kept
            layers.append(full[:, : len(lines_SN)] @ lines_SN)

    modules = [
        module
        for layer in loaded.anatomy.layers
        for module in layer.modules()
        if type(module).__name__.endswith("Attention")
    ]
    before = loaded.model.config._attn_implementation
    handles = [module.register_forward_hook(read) for module in modules]
    try:
        loaded.model.set_attn_implementation("eager")
        yield layers
    finally:
        loaded.model.set_attn_implementation(before)
        for handle in handles:
            handle.remove()


@dataclass(frozen=True, kw_only=True)
class AttentionDilution:
    """Attention to attributes by how many there are."""

    share: dict[int, Interval]
    """By number of attributes: mean attention to one attribute, over responses."""

    even: dict[int, float]
    """The mean that the attributes' lengths alone give."""

    selectivity: dict[int, Interval]
    """By number of attributes, where any response realised one: attention where realised over attention elsewhere."""

    responses: dict[int, int]


def attention_dilution(
    loaded: LoadedModel,
    responses: Sequence[tuple[AttributeSet, str]],
    *,
    order: Order = "shuffled",
    seed: int = 0,
    label: str | None = None,
) -> AttentionDilution:
    """Attention and selectivity by number of attributes over sets with a response each; bootstrap over responses.

    With a set's own text as its response every attribute is realised, so that two models are compared on the same
    tokens. InsufficientSamplesError without responses; else as ``attention_to_attributes``.
    """
    reads = []
    with counted(label, len(responses)) as bar:
        for attributes, response in responses:
            reads.append(attention_to_attributes(loaded, attributes, response, order=order, seed=seed))
            bar.advance()
    return dilution_of(reads, seed=seed)


def dilution_of(reads: Sequence[AttributeAttention], *, seed: int = 0) -> AttentionDilution:
    """What was read of some responses, by number of attributes. InsufficientSamplesError without any."""
    if not reads:
        raise InsufficientSamplesError("attention dilution needs at least one set with a response; got none.")
    by_count: dict[int, list[AttributeAttention]] = {}
    for read in reads:
        by_count.setdefault(len(read.shares), []).append(read)
    shares, even, selectivity = {}, {}, {}
    for count, alike in sorted(by_count.items()):
        how = f"bootstrap over {len(alike):,} responses"
        shares[count] = bootstrap_mean([float(np.mean(read.shares)) for read in alike], seed=seed, how=how)
        even[count] = float(np.mean([np.mean(read.even) for read in alike]))
        ratios = [ratio for read in alike if (ratio := read.selectivity) is not None]
        if ratios:
            selectivity[count] = bootstrap_mean(ratios, seed=seed, how=f"bootstrap over {len(ratios):,} responses")
    return AttentionDilution(
        share=shares,
        even=even,
        selectivity=selectivity,
        responses={count: len(alike) for count, alike in sorted(by_count.items())},
    )
