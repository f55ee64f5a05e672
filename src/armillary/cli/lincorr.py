"""``armillary lincorr MODEL``: the linear map between two relations, one of ours or one from a file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

import tyro

from armillary.cli.command import run_job
from armillary.errors import UsageError
from armillary.methods.lincorr.config import LinCorrConfig
from armillary.runs.run import Job, Outcome, Run
from armillary.runs.settings import File, OneModelSettings

if TYPE_CHECKING:
    from armillary.data import Relation


@dataclass(frozen=True, kw_only=True)
class LincorrSettings(LinCorrConfig, OneModelSettings):
    """Fit one linear map from a model's next-token logits of one relation to those of another, and test it.

    `armillary show lincorr` shows the claim; docs/methods/lincorr.md how to read the numbers.
    """

    command: ClassVar[str] = "lincorr"

    relation: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Name of a shipped relation, e.g. city-country; for a wrong name the nearest are shown."""

    relation_file: File = None
    """A relation of your own, as TOML (docs/methods/lincorr.md shows one)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.relation is None) == (self.relation_file is None):
            raise UsageError("Give either --relation NAME or --relation-file FILE, and not both.")

    def files(self) -> dict[str, str]:
        """The file of a relation of the user's own."""
        return {"relation": self.relation_file} if self.relation_file is not None else {}

    def names(self) -> tuple[str, ...]:
        """Model and relation."""
        return self.model, self.relation or Path(str(self.relation_file)).stem

    def dry(self) -> Self:
        """200 words are the fewest with which the tiny model's map means the same thing."""
        return replace(super().dry(), n=min(self.n, 200))

    def chosen(self) -> "Relation":
        """The relation. UsageError where there is none of that name, or its file is wrong."""
        from armillary.data import load_relation_file, relation

        return relation(str(self.relation)) if self.relation_file is None else load_relation_file(self.relation_file)

    def check(self) -> None:
        """Refuse a wrong relation before a model is opened."""
        self.chosen()


def fit_relation(run: Run[LincorrSettings]) -> Outcome:
    """One relation on one model. UsageError where its tokenizer can't say the relation's words."""
    from armillary.methods.lincorr import study
    from armillary.methods.lincorr.report import findings, measures, section

    chosen = run.settings.chosen()
    relations = study(run.model, [chosen], run.settings, store=run.parts.arrays)
    if relations.skipped:
        raise UsageError(relations.skipped[chosen.id])
    result = relations.results[chosen.id]
    return Outcome(
        title=f"{chosen.id} in {run.model.name}",
        measures=measures(result),
        findings=findings(result),
        sections=[section(result)],
        data=chosen.source,
    )


JOBS = {"lincorr": Job(settings=LincorrSettings, work=fit_relation)}


def run(arguments: Sequence[str]) -> int:
    """The command."""
    return run_job(JOBS["lincorr"], arguments)
