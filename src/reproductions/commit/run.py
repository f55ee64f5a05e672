"""The claims of CoMMIT (arXiv 2407.20454): run, measured, judged. ``armillary reproduce commit`` and ``commit_real``.

Claims are judged on small image-text models trained from scratch, to which the given model lends its place to the
computation and nothing else. ``commit_real`` has claims of its own on small models that hear, and on the given
language model with images.
"""

from functools import partial

from armillary.cli.reproduce import ReproduceSettings, Reproduction
from armillary.data import load_emoji
from armillary.data.images.vision_states import image_states
from armillary.extras import optional
from armillary.finetuning.image_setup import image_text_setup
from armillary.models import LoadedModel
from armillary.runs.run import Outcome, Run
from reproductions.commit import small_models as stages
from reproductions.commit.claims import CLAIMS
from reproductions.commit.measures import SoundResults, StageResults, measures, model_measures, sound_measures
from reproductions.commit.real_claims import REAL_CLAIMS
from reproductions.commit.real_model import GivenModel
from reproductions.commit.report import figures, real_figures, tables
from reproductions.commit.scale import RUNS, SCALES, SOUND_RUNS, SOUND_SCALES, STARTS, TASKS, Rates, Start
from reproductions.commit.small_models import Arms, Context, Law, Pilot
from reproductions.commit.sounds.dataset import SoundDataset, synthetic_sounds
from reproductions.commit.sounds.sounds import load_sounds
from reproductions.images.dataset import ImageDataset
from reproductions.page import judged_outcome
from reproductions.stages import counted_stages


def dataset(loaded: LoadedModel, *, synthetic: bool) -> ImageDataset:
    """The images with their stored states, and the questions about them."""
    if synthetic:
        setup = image_text_setup(loaded, "synthetic")
        assert setup.rows.states is not None
        return ImageDataset(setup.emoji, setup.rows.states, TASKS)
    emoji = load_emoji()
    return ImageDataset(emoji, image_states(emoji), TASKS)


def judged(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim judged on small models."""
    config, loaded = run.settings, run.model
    scale = SCALES[config.preset]
    images = dataset(loaded, synthetic=scale.synthetic)
    context = Context(images, scale, config.seed, run.parts, loaded.device)
    with counted_stages(run.parts, "CoMMIT on small models", 6) as stage:
        pilot = stage.run(Pilot, "pilot", partial(stages.pilot, context))
        starts: dict[Start, Rates] = {**STARTS, "middle": pilot.middle, "best": pilot.best}
        runs = {**RUNS, "equal": (*RUNS["equal"], pilot.weight)}
        results = StageResults(
            pilot=pilot,
            law=stage.run(list[Law], "law", lambda: [stages.law(context, seed) for seed in context.judged]),
            overhead=stage.run(dict[str, list[float]], "overhead", partial(stages.overhead, context)),
            arms=stage.run(Arms, "arms", partial(stages.arms, context, runs, starts, "CoMMIT")),
            majority=stage.run(float, "majority", partial(stages.majority, context)),
            untrained=stage.run(list[float], "untrained", partial(stages.untrained, context)),
        )
    measured = measures(results)
    encoder, llm = pilot.best
    return judged_outcome(
        f"CoMMIT reproduced on small models, {scale.seeds} seeds",
        CLAIMS,
        measured,
        notes={
            "no-harm": f"The best pair: encoder {encoder:.2g}, language model {llm:.2g}.",
            "regulariser-adds": f"Chosen on the pilot: {pilot.weight}.",
        },
        figures=figures(results),
        tables=tables(measured, pilot),
        data=images.emoji.source,
    )


def judged_real(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim judged on sounds and on the given model."""
    config, loaded, parts = run.settings, run.model, run.parts
    scale = SCALES[config.preset]
    sounds = synthetic_sounds() if scale.synthetic else load_sounds()
    setup = image_text_setup(loaded, "synthetic" if scale.synthetic else "emoji", seed=config.seed)
    context = Context(
        SoundDataset(sounds), SOUND_SCALES[config.preset], config.seed, parts, loaded.device, named="audio "
    )
    heard = SoundResults(
        arms=parts.decoded(Arms, "audio arms", partial(stages.arms, context, SOUND_RUNS, STARTS, "CoMMIT on sounds")),
        majority=stages.majority(context),
        untrained=stages.untrained(context),
    )
    result = GivenModel(loaded, scale, config.seed, parts).result()
    return judged_outcome(
        f"CoMMIT on sounds and on {loaded.name}",
        REAL_CLAIMS,
        {**sound_measures(heard), **model_measures(result)},
        figures=real_figures(heard.arms, result),
        data=[*setup.sources(), *sounds.source],
    )


def _check_packages(settings: ReproduceSettings) -> None:
    optional("peft", "adapters")  # of the last stage; without it the run would end there


REPRODUCTIONS = {
    "commit": Reproduction(work=judged),
    "commit_real": Reproduction(work=judged_real, check=_check_packages),
}
