"""Fitting routers: centroids from weights, a ridge from streamed sums, MoEfication's small network from a sample.

Legend: L layers, N tokens, B tokens of a batch, D hidden size, E experts, K inputs of the ridge (D, and a 1 where
there is an intercept).
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from armillary.activations.neurons import stream_ffns
from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.experts.router import ExpertScorer, Router, ScoreKind, expert_neurons
from armillary.methods.bricks.payloads import Partition, sites_of
from armillary.models import LoadedModel
from armillary.models.feed_forward import FfnFunction, ffn_functions, weight_OI
from armillary.progress import track

BATCH, LEARNING_RATE = 512, 0.01
"""MoEfication's."""

HELD_OUT, TOP = 0.1, 0.2
"""Share of the tokens that tell which epoch was best, and share of the experts whose score mass is compared there."""

LEAST_TOKENS = 20
"""With a tenth held out, two are left to choose the epoch by."""


def train_mlp(
    x_ND: Float[Tensor, "n d"],
    s_NE: Float[Tensor, "n e"],
    centroids_ED: Float[Tensor, "e d"],
    *,
    epochs: int = 30,
    seed: int = 0,
) -> tuple[Float[Tensor, "e d"], Float[Tensor, "e e"]]:
    """The two matrices of ``x / ||x|| -> Linear -> tanh -> Linear``, float32 on the CPU, no biases.

    As in MoEfication: the first starts as the centroids and the second as the identity; targets are scores over the
    largest of the batch, under binary cross-entropy; Adam at 0.01, batches of 512, 30 epochs. Of the start and the
    state after each epoch the one is kept whose top 20 % of experts catch most score mass on a held-out tenth.
    UsageError for fewer than 20 tokens or a negative number of epochs; NumericError for scores that are all 0.
    """
    if len(x_ND) < LEAST_TOKENS or epochs < 0:
        raise UsageError(f"an MLP router needs {LEAST_TOKENS} tokens or more; got {len(x_ND)} and {epochs} epochs.")
    if not bool(s_NE.isfinite().all()) or float(s_NE.max()) <= 0:
        raise NumericError("the experts' scores must be finite and somewhere above 0 to train a router.")
    generator = torch.Generator().manual_seed(seed)
    unit_ND, s_NE = functional.normalize(x_ND.detach().cpu().float(), dim=1), s_NE.detach().cpu().float()
    order_N = torch.randperm(len(unit_ND), generator=generator)
    held = max(1, round(HELD_OUT * len(order_N)))
    test_N, train_N = order_N[:held], order_N[held:]
    weights = [centroids_ED.detach().clone().requires_grad_(), torch.eye(s_NE.shape[1]).requires_grad_()]
    optimizer = torch.optim.Adam(weights, lr=LEARNING_RATE)
    best, kept = _caught(weights, unit_ND[test_N], s_NE[test_N]), [weight.detach().clone() for weight in weights]
    for _ in range(epochs):
        shuffled_N = train_N[torch.randperm(len(train_N), generator=generator)]
        for batch_B in shuffled_N.split(BATCH):
            _step(optimizer, weights, unit_ND[batch_B], s_NE[batch_B])
        caught = _caught(weights, unit_ND[test_N], s_NE[test_N])
        if caught > best:
            best, kept = caught, [weight.detach().clone() for weight in weights]
    return kept[0], kept[1]


def _step(optimizer: torch.optim.Optimizer, weights: list[Tensor], x_BD: Tensor, s_BE: Tensor) -> None:
    largest = s_BE.max()
    if float(largest) <= 0:
        return
    optimizer.zero_grad()
    with torch.enable_grad():
        logits_BE = (x_BD @ weights[0].T).tanh() @ weights[1].T
        functional.binary_cross_entropy_with_logits(logits_BE, s_BE / largest).backward()
    optimizer.step()


@torch.no_grad()
def _caught(weights: list[Tensor], x_ND: Tensor, s_NE: Tensor) -> float:
    """Share of the score mass in the top experts of the router."""
    logits_NE = (x_ND @ weights[0].T).tanh() @ weights[1].T
    top_NK = logits_NE.topk(max(1, round(TOP * s_NE.shape[1])), dim=1).indices
    return float(s_NE.gather(1, top_NK).sum() / s_NE.sum().clamp_min(1e-30))


TOKENS = 4096
"""Read for an MLP router: more take memory in proportion."""

RIDGE = 0.01
"""Penalty of the ridge in units of the mean square of an input: larger is steadier on few tokens, smaller follows the
scores more closely."""


def centroid_router(loaded: LoadedModel, partition: Partition) -> Router:
    """Routes to the experts whose mean unit gate row points the way of the input; needs no text."""
    sites_of(loaded, partition)
    centroids = [_centroids(function, partition) for function in ffn_functions(loaded)]
    return Router(kind="centroid", score="norm", first_LED=torch.stack(centroids))


def ridge_router(
    loaded: LoadedModel,
    partition: Partition,
    texts: Sequence[str],
    *,
    ridge: float = RIDGE,
    intercept: bool = True,
    max_tokens: int = 128,
) -> Router:
    """Predicts the oracle's scores linearly from the FFN's input: one solve a layer of streamed float64 sums.

    The penalty is ``ridge`` times the mean square of an input; the intercept is not penalised. Memory does not depend
    on the length of the texts. Raises UsageError for a partition of another shape, no texts or a negative penalty;
    NumericError where the sums are not finite.
    """
    if not ridge >= 0:
        raise UsageError(f"the penalty of a ridge must be 0 or more; got {ridge}.")
    functions, scorers = _scorers(loaded, partition, "norm")
    sums = [_Sums(intercept) for _ in functions]

    def receive(layer: int, _: list[int], x_BTD: Tensor, a_BTM: Tensor) -> None:
        sums[layer].add(x_BTD.flatten(0, 1), scorers[layer](a_BTM.flatten(0, 1)))

    stream_ffns(loaded, functions, texts, receive, max_tokens=max_tokens, label="fitting a ridge router")
    solved = [layer_sums.solve(ridge, layer) for layer, layer_sums in enumerate(sums)]
    bias_LE = torch.stack([bias_E for _, bias_E in solved]).float() if intercept else None
    weights_LED = torch.stack([weight_ED for weight_ED, _ in solved]).float()
    return Router(kind="ridge", score="norm", first_LED=weights_LED, bias_LE=bias_LE)


def mlp_router(
    loaded: LoadedModel,
    partition: Partition,
    texts: Sequence[str],
    *,
    epochs: int = 30,
    seed: int = 0,
    max_tokens: int = 128,
) -> Router:
    """MoEfication's router: two matrices with a tanh between them, trained on the scores of about 4096 tokens.

    The inputs and scores of these tokens are kept while it trains (``4096 * L * (D + E)`` float32), evenly spaced in
    all texts. Its recipe stands at ``train_mlp``. Raises as ``ridge_router``; UsageError for fewer than 20 tokens.
    """
    functions, scorers = _scorers(loaded, partition, "magnitude")
    per_text = -(-TOKENS // max(1, len(texts)))
    kept: list[list[tuple[Tensor, Tensor]]] = [[] for _ in functions]

    def receive(layer: int, _: list[int], x_BTD: Tensor, a_BTM: Tensor) -> None:
        length = x_BTD.shape[1]
        positions = torch.linspace(0, length - 1, min(length, per_text), device=x_BTD.device).round().long()
        x_ND, a_NM = x_BTD[:, positions].flatten(0, 1), a_BTM[:, positions].flatten(0, 1)
        kept[layer].append((x_ND.float(), scorers[layer](a_NM)))

    stream_ffns(loaded, functions, texts, receive, max_tokens=max_tokens, label="reading for an MLP router")
    trained = [
        train_mlp(
            torch.cat([x_ND for x_ND, _ in kept[layer]]),
            torch.cat([s_NE for _, s_NE in kept[layer]]),
            _centroids(function, partition),
            epochs=epochs,
            seed=seed + layer,
        )
        for layer, function in enumerate(track(functions, "training an MLP router", len(functions)))
    ]
    first, second = (torch.stack(list(part)) for part in zip(*trained, strict=True))
    return Router(kind="mlp", score="magnitude", first_LED=first, second_LEE=second)


class _Sums:
    """Second moments of the inputs, and of inputs with scores."""

    def __init__(self, intercept: bool) -> None:
        self._intercept = intercept
        self._xx_KK: Tensor | None = None
        self._xs_KE: Tensor | None = None

    def add(self, x_ND: Tensor, s_NE: Tensor) -> None:
        x_NK = x_ND.cpu().double()
        if self._intercept:
            x_NK = functional.pad(x_NK, (0, 1), value=1.0)
        xx_KK, xs_KE = x_NK.T @ x_NK, x_NK.T @ s_NE.cpu().double()
        self._xx_KK = xx_KK if self._xx_KK is None else self._xx_KK + xx_KK
        self._xs_KE = xs_KE if self._xs_KE is None else self._xs_KE + xs_KE

    def solve(self, ridge: float, layer: int) -> tuple[Tensor, Tensor]:
        """Weights ``[E, D]`` and intercepts ``[E]``, float64."""
        assert self._xx_KK is not None and self._xs_KE is not None
        if not bool(self._xx_KK.isfinite().all() and self._xs_KE.isfinite().all()):
            raise NumericError(f"the FFN of layer {layer} gave NaN or infinite values, so no router can be fitted.")
        width = len(self._xx_KK) - self._intercept
        penalty_K = torch.zeros(len(self._xx_KK), dtype=torch.float64)
        penalty_K[:width] = ridge * self._xx_KK.diagonal()[:width].mean()
        # lstsq, not solve: without a penalty fewer tokens than inputs leave the system singular.
        weight_KE = torch.linalg.lstsq(self._xx_KK + penalty_K.diag(), self._xs_KE, driver="gelsd").solution
        bias_E = weight_KE[width] if self._intercept else torch.zeros(self._xs_KE.shape[1], dtype=torch.float64)
        return weight_KE[:width].T, bias_E


def _scorers(
    loaded: LoadedModel, partition: Partition, score: ScoreKind
) -> tuple[tuple[FfnFunction, ...], list[Callable[[Tensor], Tensor]]]:
    sites_of(loaded, partition)
    functions = ffn_functions(loaded)
    return functions, [ExpertScorer(function, partition, score) for function in functions]


def _centroids(function: FfnFunction, partition: Partition) -> Tensor:
    """Mean unit gate row of each expert, at unit length, ``[E, D]``."""
    rows_MD = functional.normalize(weight_OI(function.gate).detach().cpu().double(), dim=1)
    groups = expert_neurons(partition, function.parts.layer)
    means = [rows_MD[torch.from_numpy(chosen)].sum(0) for chosen in groups]
    return functional.normalize(torch.stack(means), dim=1).float()
