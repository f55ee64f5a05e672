"""``armillary ocean evaluate MODEL CHAINS``: what a model is worth by logged chains and a graph, offline."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, TypeVar

import tyro

from armillary.cli.command import run_job
from armillary.errors import UsageError
from armillary.runs.run import Job, Outcome, Run
from armillary.runs.settings import DRY_MODEL, File, OneModelSettings, OtherModel, at_least, not_empty

if TYPE_CHECKING:
    from armillary.methods.ocean.offline import ChainRow
    from armillary.models.loaded import LoadedModel

ChainsFile = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CHAINS")]
GraphName = Annotated[str | None, tyro.conf.arg(metavar="GRAPH")]
LoggedBy = Literal["base", "lambda", "unknown"]


@dataclass(frozen=True, kw_only=True)
class OceanChainSettings(OneModelSettings):
    """What the commands share that read logged chains under models and a graph's policy."""

    chains: ChainsFile
    """File of logged chains (.jsonl, .json, .csv, .tsv or .parquet), as `armillary ocean check` reads them."""

    kg: GraphName = None
    """Graph: finds the entities of chains without entity_spans (extra graphs), and its random paths train the
    graph's policy where --kg-policy names none. As for `armillary ocean check`."""

    kg_policy: OtherModel = None
    """Trained policy of the graph, with the model's tokenizer: kg_policy in the folder of an earlier run."""

    aliases: File = None
    """Further names of the graph's entities: lines "entity<tab>name<tab>name"."""

    phrases: File = None
    """How relations are said, as for `armillary ocean check`."""

    logged_by: LoggedBy = "base"
    """Who wrote the chains of rows without a column logging: the base policy, the paper's lambda, or nobody knows."""

    plain_prompts: bool = False
    """Leave prompts as they are, without the model's chat template."""

    limit: int | None = None
    """Take no more than the first so many chains."""

    max_length: int = 1024
    """Tokens of prompt and chain; longer ones are left out, and counted."""

    propensity_floor: float | None = None
    """Least probability of a logged token under base and graph policy, such as 1e-6; by default such a token is
    refused."""

    paths: int = 2000
    """Random paths that train the graph's policy."""

    hops: tuple[int, ...] = (1, 2, 3)
    """Facts of a path."""

    policy_learning_rate: float = 1e-4
    policy_epochs: float = 3
    policy_steps: int = -1
    """Optimiser steps of the graph's policy in place of epochs."""

    policy_batch_size: int = 8

    def __post_init__(self) -> None:
        at_least(self, limit=1, max_length=2, paths=1, policy_batch_size=1)
        not_empty(self, "chains", "kg", "kg_policy", "aliases", "phrases")
        if self.kg is None and self.kg_policy is None:
            raise UsageError("what is the graph? Give it with --kg, or its trained policy with --kg-policy.")
        if self.kg is None and (self.aliases or self.phrases):
            raise UsageError("aliases and phrases belong to a graph; give --kg with them.")
        if self.propensity_floor is not None and not 0 < self.propensity_floor < 1:
            raise UsageError(f"propensity_floor must lie between 0 and 1, got {self.propensity_floor}.")
        if not 0 < self.policy_learning_rate < math.inf or not 0 < self.policy_epochs < math.inf:
            raise UsageError(
                "policy_learning_rate and policy_epochs must be above 0 and finite, got "
                f"{self.policy_learning_rate} and {self.policy_epochs}."
            )
        if self.policy_steps != -1 and self.policy_steps < 1:
            raise UsageError(f"policy_steps must be 1 or more, or -1 for none, got {self.policy_steps}.")
        if not self.hops or any(hops < 1 for hops in self.hops):
            raise UsageError(f"hops must be numbers of 1 or more, got {self.hops}.")

    @property
    def written_by(self) -> str:
        """Name of the base policy: that whose copy becomes the graph's policy."""
        return self.model

    def models(self) -> dict[str, str]:
        """The model, and the graph's policy where one is given."""
        return {**super().models(), **({"kg_policy": self.kg_policy} if self.kg_policy else {})}

    def files(self) -> dict[str, str]:
        """The chains, and the graph where it is a file."""
        graph = self.kg if self.kg is not None and Path(self.kg).exists() else None
        roles = {"chains": self.chains, "kg": graph, "aliases": self.aliases, "phrases": self.phrases}
        return {role: path for role, path in roles.items() if path is not None}

    def names(self) -> tuple[str, ...]:
        """Chains and model."""
        return Path(self.chains).stem, self.model

    def dry(self) -> Self:
        """A few chains under tiny models, and one step of the graph's policy."""
        return replace(
            super().dry(), kg_policy=DRY_MODEL if self.kg_policy else None, limit=min(self.limit or 8, 8), paths=8,
            policy_steps=1, plain_prompts=True,
        )  # fmt: skip

    def check(self) -> None:
        """Refuse chains that can't be read, before a model is opened."""
        from armillary.methods.ocean.chains import read_written

        if self.quantize is not None and self.kg_policy is None:
            raise UsageError(f"packed weights ({self.quantize}) can't be trained; give --kg-policy or no --quantize.")
        read_written(self.chains, self.limit)


@dataclass(frozen=True, kw_only=True)
class OceanEvaluateSettings(OceanChainSettings):
    """Estimate what a model is worth by chains that another policy wrote, with intervals, and how far to trust that.

    CHAINS were written by --base. The value is KG-IPS of the paper: log-likelihood by the base policy, weighted by the
    model's ratio to the graph's policy on entities and to the base policy elsewhere. Where the entities can be linked
    exactly, `armillary ocean check` on the model's own chains is simpler and better.
    """

    command: ClassVar[str] = "ocean evaluate"

    base: Annotated[str, tyro.conf.arg(metavar="MODEL")]
    """Model that wrote the chains, with the same tokenizer."""

    clip: float = 10.0
    """Largest weight of the clipped estimate, which stands beside the others."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.clip < math.inf:
            raise UsageError(f"clip must be above 0 and finite, got {self.clip}.")

    @property
    def written_by(self) -> str:
        """The base policy."""
        return self.base

    def models(self) -> dict[str, str]:
        """Model, base policy and graph's policy."""
        return {**super().models(), "base": self.base}

    def dry(self) -> Self:
        """The same base policy as model."""
        return replace(super().dry(), base=DRY_MODEL)


ChainSettings = TypeVar("ChainSettings", bound=OceanChainSettings)


def read_logged(
    settings: ChainSettings, base: "LoadedModel", run: Run[ChainSettings]
) -> "tuple[list[ChainRow], LoadedModel]":
    """The chains with their entities, and the graph's policy, trained where none is given."""
    from armillary.methods.ocean.chains import chosen_graph, read_written
    from armillary.methods.ocean.offline import PolicyPlan, logged_rows, require_vocabulary_of, trained_graph_policy
    from armillary.methods.ocean.policy.training import PolicyConfig
    from armillary.methods.ocean.rows import read_chains, token_rows

    chains = read_written(settings.chains, settings.limit)
    chosen = None
    if settings.kg is not None:
        chosen = chosen_graph(settings.kg, aliases=settings.aliases, phrases=settings.phrases)
    lexicon = chosen.lexicon() if chosen and any(chain.entity_spans is None for chain in chains) else None
    rows = logged_rows(
        chains, base, lexicon, logged_by=settings.logged_by, plain_prompts=settings.plain_prompts
    )  # fmt: skip
    # Chains that will be refused are refused before the graph's policy is trained.
    token_rows(base.tokenizer, read_chains(rows), max_length=settings.max_length)
    if "kg_policy" in run.models or chosen is None:
        require_vocabulary_of(base, run.models["kg_policy"], "graph's policy")
        return rows, run.models["kg_policy"]
    training = PolicyConfig(
        learning_rate=settings.policy_learning_rate, epochs=settings.policy_epochs, max_steps=settings.policy_steps,
        batch_size=settings.policy_batch_size, max_length=settings.max_length, seed=settings.seed,
    )  # fmt: skip
    plan = PolicyPlan(
        paths=settings.paths, hops=settings.hops, training=training, plain_prompts=settings.plain_prompts
    )
    policy = trained_graph_policy(settings.written_by, settings.opening(), chosen, plan, run.parts, run.folder.path)
    return rows, policy


def evaluate(run: Run[OceanEvaluateSettings]) -> Outcome:
    """The values by several estimators."""
    from armillary.methods.ocean.offline import require_vocabulary_of, valued
    from armillary.methods.ocean.report import value_page
    from armillary.records.sections import Finding

    settings, target, base = run.settings, run.model, run.models["base"]
    require_vocabulary_of(target, base, "base policy")
    rows, policy = read_logged(settings, base, run)
    value = valued(
        target, base, policy, rows, clip=settings.clip, propensity_floor=settings.propensity_floor,
        max_length=settings.max_length, seed=settings.seed,
    )  # fmt: skip
    names = ("KG-IPS", f"clipped at {settings.clip:g}", "self-normalised", "per decision", "doubly robust")
    estimates = dict(zip(names, value.estimates, strict=True))
    page = value_page({**estimates, "base policy itself": value.base})
    gain = value.gain
    clear = "differs from" if gain.excludes(0) else "can't be told apart from"
    paper = value.estimates[0]
    findings = [
        Finding(
            text=f"By KG-IPS the model {clear} the base policy: {gain.estimate:+.3f} [{gain.lower:+.3f}, "
            f"{gain.upper:+.3f}] nats a token on the same chains.",
            interest=0.9, section="value", basis=gain.how,
        ),
        Finding(
            text=f"The weights leave {paper.ess / paper.tokens:.0%} of {paper.tokens:,} tokens as effective sample; "
            f"{paper.entity_share:.0%} of the tokens are entities.",
            interest=0.6, section="value",
        ),
    ]  # fmt: skip
    return Outcome(
        title=f"{target.name} valued by {paper.chains:,} chains of {base.name}",
        measures={**page.measures, "model - base policy": gain},
        findings=[*findings, *page.findings],
        sections=page.sections,
    )


JOBS = {"ocean evaluate": Job(settings=OceanEvaluateSettings, work=evaluate)}


def run(arguments: Sequence[str]) -> int:
    """The command."""
    return run_job(JOBS["ocean evaluate"], arguments)
