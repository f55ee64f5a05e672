"""The claims of ICN (arXiv 2410.02284) on one model: run, measured, judged. ``armillary reproduce icn``."""

from functools import partial

from armillary.cli.reproduce import BOTH, ReproduceSettings, Reproduction
from armillary.runs.run import Outcome, Run
from reproductions.icn.answers import Answered, answer_stage, arms
from reproductions.icn.claims import CLAIMS
from reproductions.icn.fixed_keys import FixedKeysStage, fixed_keys_stage
from reproductions.icn.measures import IcnStages, measures
from reproductions.icn.report import figures, tables
from reproductions.icn.scale import SCALES
from reproductions.icn.stages import ClusterStage, Context, ProbeStage, cluster_stage, probe_stage
from reproductions.icn.texts import ChainStage, OpenStage, chain_stage, open_stage
from reproductions.page import judged_outcome
from reproductions.stages import counted_stages


def run_stages(context: Context) -> IcnStages:
    """Every stage, each kept as it is finished."""
    scale, count = context.scale, len(context.probes)
    ways = {prompt: list(arms(context, prompt)) for prompt in context.prompts}
    total = scale.seeds + count + sum(map(len, ways.values())) + scale.open_instructions + 2
    with counted_stages(context.parts, f"ICN on {context.loaded.name}", total) as stages:
        return IcnStages(
            clusters=[
                stages.run(ClusterStage, f"clusters {offset}", partial(cluster_stage, context, offset))
                for offset in range(scale.seeds)
            ],
            probes=[
                stages.run(ProbeStage, f"probe {index}", partial(probe_stage, context, index))
                for index in range(count)
            ],
            answers={
                prompt: {
                    arm: stages.run(
                        list[Answered], f"answers {prompt} {arm}", partial(answer_stage, context, prompt, arm)
                    )
                    for arm in names
                }
                for prompt, names in ways.items()
            },
            open=[
                stages.run(OpenStage, f"open {index}", partial(open_stage, context, index))
                for index in range(scale.open_instructions)
            ],
            chains=stages.run(ChainStage, "chains", partial(chain_stage, context)),
            training=stages.run(FixedKeysStage, "training", partial(fixed_keys_stage, context)),
        )


def judged(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim judged."""
    context = Context(run.model, SCALES[run.settings.preset], run.settings.seed, run.parts)
    stages = run_stages(context)
    values = measures(stages, context.scale.top)
    notes = {}
    if stages.training.tied:
        notes["fixed-keys"] = "The embeddings are tied: keys are input vectors too."
    if unreachable := sum(probe.unreachable for probe in stages.probes):
        notes["more-correct-answers"] = f"{unreachable} answers can't be written with this tokenizer."
    return judged_outcome(
        f"ICN reproduced on {run.model.name}",
        CLAIMS,
        values,
        notes=notes,
        figures=figures(stages, values),
        tables=tables(stages),
        data=[source for probe in context.probes for source in probe.source],
    )


REPRODUCTIONS = {
    "icn": Reproduction(work=judged, laptop=BOTH, gpu=BOTH),
}
