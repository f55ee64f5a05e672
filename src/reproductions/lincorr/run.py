"""The claims of LinCorr (arXiv 2502.04520) on one model: run, measured, judged. ``armillary reproduce lincorr``."""

from functools import partial

from armillary.cli.reproduce import BOTH, ReproduceSettings, Reproduction
from armillary.data import relation
from armillary.data.texts.corpora import corpus_source
from armillary.methods.lincorr import GradientCorrelation, StudyScores
from armillary.runs.run import Outcome, Run
from reproductions.lincorr.claims import CLAIMS
from reproductions.lincorr.measures import LincorrStages, measures, notes
from reproductions.lincorr.report import figures, tables
from reproductions.lincorr.scale import RELATIONS, SCALES
from reproductions.lincorr.stages import (
    OTHER_TEXT,
    CompletenessStage,
    Context,
    EditStage,
    Knowledge,
    RateStage,
    Tune,
    VocabularyArm,
    completeness_stage,
    correlation_stage,
    edit_stage,
    gradient_stage,
    knowledge_stage,
    rate_stage,
    tune_stage,
    vocabulary_stage,
)
from reproductions.page import judged_outcome
from reproductions.stages import counted_stages


def run_stages(context: Context) -> LincorrStages:
    """Every stage, each kept as it is finished."""
    splits, tunes = context.scale.splits, context.scale.tunes
    with counted_stages(context.parts, f"LinCorr on {context.loaded.name}", splits + tunes + 7) as stages:
        correlations = [
            stages.run(StudyScores, f"correlations {offset}", partial(correlation_stage, context, offset))
            for offset in range(splits)
        ]
        knowledge = stages.run(dict[str, Knowledge], "knowledge", partial(knowledge_stage, context))
        rate = stages.run(RateStage, "rate", partial(rate_stage, context))
        edits = partial(edit_stage, context, "city-country", rate.rate, rate.pilots)
        arithmetic_edits = partial(edit_stage, context, "add1-add2", rate.rate, [])
        return LincorrStages(
            correlations=correlations,
            knowledge=knowledge,
            rate=rate,
            edits=stages.run(EditStage, "edits", edits),
            arithmetic_edits=stages.run(EditStage, "edits add1-add2", arithmetic_edits),
            gradients=stages.run(dict[str, GradientCorrelation], "gradients", partial(gradient_stage, context)),
            vocabulary=stages.run(dict[str, VocabularyArm], "vocabulary", partial(vocabulary_stage, context)),
            completeness=stages.run(CompletenessStage, "completeness", partial(completeness_stage, context)),
            tunes=[
                stages.run(Tune, f"tune {offset}", partial(tune_stage, context, offset)) for offset in range(tunes)
            ],
        )


def judged(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim judged."""
    context = Context(run.model, SCALES[run.settings.preset], run.settings.seed, run.parts)
    stages = run_stages(context)
    values = measures(stages)
    return judged_outcome(
        f"LinCorr reproduced on {run.model.name}",
        CLAIMS,
        values,
        notes=notes(stages),
        figures=figures(stages, values),
        tables=tables(stages, values),
        data=[*(source for name in RELATIONS for source in relation(name).source), corpus_source(OTHER_TEXT)],
    )


REPRODUCTIONS = {
    "lincorr": Reproduction(work=judged, laptop=BOTH, gpu=BOTH),
}
