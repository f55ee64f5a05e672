"""The claims of MDGD (arXiv 2502.11740): run, measured, judged. ``armillary reproduce mdgd`` and ``mdgd_real``.

Small image-text models, pre-trained here on questions about emoji, carry the claims: the vision tower is DINOv2-small,
frozen, the language model starts from random weights, and the model given only names the record. ``mdgd_real`` gives
the model itself images, with three seeds, the arms that matter most, and claims of its own.
"""

from functools import partial

from armillary.cli.reproduce import ReproduceSettings, Reproduction
from armillary.data.images.emoji import fetch_emoji, load_emoji
from armillary.data.images.synthetic import random_tower, synthetic_emoji
from armillary.data.images.vision_states import image_states, states_behind
from armillary.data.sources import DataSource
from armillary.extras import optional
from armillary.progress import counted
from armillary.runs.run import Outcome, Run
from reproductions.images.dataset import ImageDataset
from reproductions.mdgd import small_models as stages
from reproductions.mdgd.claims import CLAIMS
from reproductions.mdgd.measures import judged_rate, measures
from reproductions.mdgd.real.claims import REAL_CLAIMS
from reproductions.mdgd.real.measures import real_measures
from reproductions.mdgd.real.model import GivenModel, RealSeed, RealStart
from reproductions.mdgd.report import curves, figures, real_figures, tables
from reproductions.mdgd.scale import ARMS, OLD_TASKS, REAL_ARMS, SCALES, SWEPT, TARGET, Scale
from reproductions.mdgd.small_models import ArmResult, Context, SeedResult, Start
from reproductions.page import judged_outcome
from reproductions.stages import counted_stages


def dataset(scale: Scale, code_seed: int) -> ImageDataset:
    """The questions and images of a seed; the emoji are fetched at first use."""
    tasks = (*OLD_TASKS, TARGET)
    if scale.synthetic:
        emoji = synthetic_emoji()
        return ImageDataset(emoji, states_behind(random_tower(), emoji), tasks, code_seed)
    fetch_emoji()
    emoji = load_emoji()
    return ImageDataset(emoji, image_states(emoji), tasks, code_seed)


PILOT = 1000
"""What is added to the seed for the one that the rate is chosen on: none that is judged."""


def judged(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim judged on small models."""
    config, parts = run.settings, run.parts
    scale = SCALES[config.preset]
    rates = {f"{rate:g}": (rate, steps) for rate, steps in scale.rates}
    stages_of_seed = 1 + len(ARMS) + (len(rates) - 1) * len(SWEPT)
    results: list[SeedResult] = []
    with counted_stages(parts, "MDGD: stages", scale.seeds * stages_of_seed + 2) as stage:
        aside = config.seed + PILOT
        aside_context = Context(dataset(scale, aside), scale, aside, parts)
        pilot = stage.run(dict[str, list[float]], "pilot", partial(stages.pilot, aside_context))
        chosen = judged_rate(pilot)
        for seed in range(config.seed, config.seed + scale.seeds):
            context = Context(dataset(scale, seed), scale, seed, parts)
            start = stage.run(Start, f"start {seed}", partial(stages.start, context))

            def arm(name: str, rate: str, context: Context = context) -> ArmResult:
                compute = partial(stages.arm, context, name, *rates[rate], judged=rate == chosen)
                return stage.run(ArmResult, f"{name} at {rate}, {context.seed}", compute)

            arms = {name: arm(name, chosen) for name in ARMS}
            swept = {
                rate: {name: arms[name] if rate == chosen else arm(name, rate) for name in SWEPT} for rate in rates
            }
            results.append(SeedResult(start=start, arms=arms, swept=swept))
        seconds = stage.run(dict[str, list[float]], "cost", partial(stages.cost, aside_context))
    return judged_outcome(
        f"MDGD reproduced on small models, {scale.seeds} seeds",
        CLAIMS,
        measures(results, pilot, seconds),
        figures=figures(results),
        tables=tables(results),
        more=[curves(results)],
        data=aside_context.dataset.emoji.source,
    )


def judged_real(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim judged on the given model."""
    config, loaded, parts = run.settings, run.model, run.parts
    scale = SCALES[config.preset]
    results: list[RealSeed] = []
    sources: list[DataSource] = []
    with counted("MDGD on real weights", scale.real.seeds * (1 + len(REAL_ARMS))) as bar:
        for seed in range(config.seed, config.seed + scale.real.seeds):
            given = GivenModel(
                loaded, scale.real, seed, parts, synthetic=scale.synthetic, image_model=config.image_model
            )
            with given.seeing():
                start = parts.decoded(RealStart, f"start {seed}", given.start)
                bar.advance()
                arms = {}
                for name in REAL_ARMS:
                    arms[name] = given.arm(name)
                    bar.advance()
            results.append(RealSeed(start=start, arms=arms))
            sources = given.setup.sources()
    return judged_outcome(
        f"MDGD on {loaded.name} with pictures",
        REAL_CLAIMS,
        real_measures(results),
        figures=real_figures(results),
        data=sources,
    )


def _check_packages(settings: ReproduceSettings) -> None:
    optional("peft", "adapters")  # of one arm; without it the run would end there


REPRODUCTIONS = {
    "mdgd": Reproduction(work=judged, check=_check_packages),
    "mdgd_real": Reproduction(work=judged_real),
}
