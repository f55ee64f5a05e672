"""One feed-forward block between input and output embeddings, without attention or positions: can it compose facts?

The paper (arXiv 2502.04520, Figure 6 and Table 7) removes every transformer block; the details here are ours. A name
is given a source token ("X lives in the city of" Tokyo); for some names the target token is taught as well ("X lives
in the country of" Japan); the test asks the target of names that were taught only the source. Legend: N texts,
D hidden width, M tokens in the restricted output, U tokens that are used at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from armillary.errors import ModelError, NumericError, UsageError
from armillary.methods.lincorr.tables import split_template
from armillary.methods.lincorr.words import WordTable
from armillary.models import LoadedModel
from armillary.models.batches import encode
from armillary.numerics import Interval, binomial

FactMapping = Literal["true", "shuffled"]
Embeddings = Literal["pretrained", "random"]


@dataclass(frozen=True, kw_only=True)
class VocabularyConfig:
    """The network and its training. The paper gives none of these numbers but the 128 test names."""

    mapping: FactMapping = "true"
    """"shuffled": each source goes with the next pair's target."""

    embeddings: Embeddings = "pretrained"
    """"random": Gaussian of the same spread in each dimension, tied where the model's are."""

    residual: bool = True
    test_names: int = 128
    steps: int = 500
    batch_size: int = 128
    learning_rate: float = 1e-3
    other_tokens: int = 1000
    """Random tokens among which the answers must be found in training: stands for the whole vocabulary, for speed."""

    seed: int = 0

    def __post_init__(self) -> None:
        if self.mapping not in get_args(FactMapping) or self.embeddings not in get_args(Embeddings):
            raise UsageError(
                "mapping must be true or shuffled and embeddings pretrained or random; got "
                f"{self.mapping!r} and {self.embeddings!r}."
            )
        for name in ("test_names", "steps", "batch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be 1 or more; got {getattr(self, name)}.")


@dataclass(frozen=True, kw_only=True)
class VocabularyResult:
    """Accuracy on names whose target was never shown."""

    accuracy: Interval
    """The partner of the name's source has the largest logit of the paired targets."""

    strict: Interval
    """... of the whole target domain."""

    chance: float
    """One over the number of paired targets."""

    taught: float
    """Accuracy on the texts that were trained on: near 1 when the network had enough steps."""

    parameters: int
    """Trained numbers; the embeddings are frozen."""


class VocabularyBlock(nn.Module):
    """``rmsnorm(h + W2 gelu(W1 h + c1) + c2) * g``: width to four times the width and back."""

    def __init__(self, width: int, *, residual: bool = True) -> None:
        super().__init__()
        self.residual = residual
        self.read, self.write = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, h_ND: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """What the output embeddings are multiplied with."""
        z_ND: Tensor = self.write(functional.gelu(self.read(h_ND)))
        if self.residual:
            z_ND = z_ND + h_ND
        return functional.rms_norm(z_ND, z_ND.shape[-1:], eps=1e-6) * self.gain


def vocabulary_feed_forward(
    loaded: LoadedModel,
    pairs: Sequence[tuple[str, str]],
    names: Sequence[str],
    *,
    source: tuple[str, WordTable],
    target: tuple[str, WordTable],
    config: VocabularyConfig | None = None,
) -> VocabularyResult:
    """Train the block on the texts of the names and test it on the names whose target was held out.

    ``pairs`` are (source word, target word); ``source`` and ``target`` are (template, words). Training sees the source
    text of all names and the target text of all but ``config.test_names`` of them. UsageError for fewer than two
    pairs, too few names, or a word outside its table; NumericError when the loss is not finite.
    """
    config = config or VocabularyConfig()
    if len(pairs) < 2 or len(names) < 2 * config.test_names or len(set(names)) < len(names):
        raise UsageError(
            f"at least 2 pairs and {2 * config.test_names} different names are needed; got {len(pairs)} pairs and "
            f"{len(set(names))} names."
        )
    generator = np.random.default_rng(config.seed)
    texts = _texts(pairs, names, (source, target), config, generator)
    # The restricted output: both domains and random tokens, in the order of their ids.
    others = generator.permutation(loaded.token_ids)[: config.other_tokens].tolist()
    outputs = sorted({*source[1].ids, *target[1].ids, *others})
    pooled, unembedding = _embedded(loaded, texts.prompts, outputs, config)
    answers = torch.tensor([outputs.index(token) for token in texts.answers])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        block = VocabularyBlock(pooled.shape[1], residual=config.residual)
        _train(block, pooled[texts.train], answers[texts.train], unembedding, config)
    with torch.no_grad():
        logits = block(pooled) @ unembedding.T
    candidates = sorted({outputs.index(target[1].ids[target[1].column(word)]) for _, word in pairs})
    domain = sorted(outputs.index(token) for token in target[1].ids)
    test = texts.test
    right = _right(logits[test], answers[test], candidates)
    return VocabularyResult(
        accuracy=binomial(right, len(test)),
        strict=binomial(_right(logits[test], answers[test], domain), len(test)),
        chance=1 / len(candidates),
        taught=float((logits[texts.train].argmax(dim=1) == answers[texts.train]).double().mean()),
        parameters=sum(parameter.numel() for parameter in block.parameters()),
    )


@dataclass(frozen=True, kw_only=True)
class _Texts:
    """Prompts with the token that answers each, and the rows of training and test."""

    prompts: list[str]
    answers: list[int]
    train: Int[Tensor, " a"]
    test: Int[Tensor, " b"]


def _texts(
    pairs: Sequence[tuple[str, str]],
    names: Sequence[str],
    sides: tuple[tuple[str, WordTable], tuple[str, WordTable]],
    config: VocabularyConfig,
    generator: np.random.Generator,
) -> _Texts:
    """Every name has one pair, in equal shares; the test names are drawn at random."""
    shift = 1 if config.mapping == "shuffled" else 0
    tables = [table for _, table in sides]
    source_ids = [tables[0].ids[tables[0].column(word)] for word, _ in pairs]
    target_ids = [tables[1].ids[tables[1].column(pairs[(k + shift) % len(pairs)][1])] for k in range(len(pairs))]
    pair_of = generator.permutation(len(names)) % len(pairs)
    held_out = generator.permutation(len(names))[: config.test_names]
    prompts, answers = [], []
    for (template, _), ids in zip(sides, (source_ids, target_ids), strict=True):
        before, after = split_template(template)
        prompts += [before + name + after for name in names]
        answers += [ids[k] for k in pair_of]
    test = np.sort(held_out) + len(names)
    train = np.setdiff1d(np.arange(2 * len(names)), test)
    return _Texts(prompts=prompts, answers=answers, train=torch.from_numpy(train), test=torch.from_numpy(test))


@torch.no_grad()
def _embedded(
    loaded: LoadedModel, prompts: Sequence[str], outputs: Sequence[int], config: VocabularyConfig
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "m d"]]:
    """Mean input embedding of each prompt, and the output embeddings: both frozen, float32 on the host."""
    rows = encode(loaded, prompts)
    weight = loaded.anatomy.head.weight
    if not isinstance(weight, Tensor):
        raise ModelError(f"{loaded.name} has no unembedding matrix.")
    used = sorted({token for row in rows for token in row} | set(outputs))
    position = {token: index for index, token in enumerate(used)}
    ids = torch.tensor(used, device=loaded.device)
    # The module, not its weight: some models scale what they look up.
    inputs_UD, outputs_UD = loaded.anatomy.embedding(ids).float().cpu(), weight[ids].float().cpu()
    if inputs_UD.shape[1] != outputs_UD.shape[1]:
        raise ModelError(f"{loaded.name} reads and writes embeddings of different widths, so none can be pooled.")
    if config.embeddings == "random":
        noise = torch.Generator().manual_seed(config.seed)
        input_noise = torch.randn(inputs_UD.shape, generator=noise)
        output_noise = input_noise if loaded.anatomy.tied else torch.randn(outputs_UD.shape, generator=noise)
        inputs_UD, outputs_UD = input_noise * inputs_UD.std(dim=0), output_noise * outputs_UD.std(dim=0)
    pooled = torch.stack([inputs_UD[[position[token] for token in row]].mean(dim=0) for row in rows])
    return pooled, outputs_UD[[position[token] for token in outputs]]


def _train(
    block: VocabularyBlock,
    pooled_ND: Float[Tensor, "n d"],
    answers_N: Int[Tensor, " n"],
    unembedding_MD: Float[Tensor, "m d"],
    config: VocabularyConfig,
) -> None:
    update = torch.optim.Adam(block.parameters(), lr=config.learning_rate)
    order = torch.Generator().manual_seed(config.seed)
    queue = torch.empty(0, dtype=torch.long)
    for _ in range(config.steps):
        # Batches are drawn without replacement until fewer texts are left than one needs.
        if len(queue) < config.batch_size:
            queue = torch.cat([queue, torch.randperm(len(answers_N), generator=order)])
        batch, queue = queue[: config.batch_size], queue[config.batch_size :]
        loss = functional.cross_entropy(block(pooled_ND[batch]) @ unembedding_MD.T, answers_N[batch])
        if not torch.isfinite(loss):
            raise NumericError("the training of the vocabulary block diverged; use a smaller learning rate.")
        update.zero_grad(set_to_none=True)
        loss.backward()
        update.step()


def _right(logits: Tensor, answers: Tensor, among: Sequence[int]) -> int:
    """How many rows have their answer as the largest logit among these columns."""
    columns = torch.tensor(among)
    return int((columns[logits[:, columns].argmax(dim=1)] == answers).sum())
