"""The claims of UltraGen (arXiv 2502.12375): run, measured, judged; ``armillary reproduce ultragen, ultragen_real``.

A toy world in which every attribute has an exact oracle carries the claims on training; the model given only names
the record. ``ultragen_real`` asks the given model for attributes of real texts, and ``ultragen_tuned`` tunes it on
them; each has claims of its own.
"""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from armillary.cli.reproduce import ReproduceSettings, Reproduction
from armillary.extras import optional
from armillary.methods.ultragen.tuning import Stages
from armillary.models.loading import load
from armillary.runs.run import Outcome, Run
from reproductions.page import judged_outcome
from reproductions.stages import counted_stages
from reproductions.ultragen import small_models as stages
from reproductions.ultragen.claims import CLAIMS
from reproductions.ultragen.measures import measures
from reproductions.ultragen.real.claims import real_claims
from reproductions.ultragen.real.given_model import RealResult, Witnessed, asked, witnessed
from reproductions.ultragen.real.measures import real_measures
from reproductions.ultragen.real.report import real_figures, real_tables
from reproductions.ultragen.real.texts import sources
from reproductions.ultragen.report import figures, tables
from reproductions.ultragen.scale import SCALES
from reproductions.ultragen.small_models import ARMS, ArmResult, Context, SeedResult
from reproductions.ultragen.tuned.answers import ModelResult, Reading, measured, read_by
from reproductions.ultragen.tuned.claims import tuned_claims
from reproductions.ultragen.tuned.making import Trained, data_of, held_out, model_of, split, trained
from reproductions.ultragen.tuned.measures import MODELS, tuned_measures
from reproductions.ultragen.tuned.report import tuned_figures, tuned_tables


def judged(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim that the toy world carries, judged."""
    config, parts = run.settings, run.parts
    scale = SCALES[config.preset]
    results: list[SeedResult] = []
    with counted_stages(parts, "UltraGen: stages", scale.seeds * (len(ARMS) + 1)) as stage:
        for seed in range(config.seed, config.seed + scale.seeds):
            context = Context(scale, seed, parts)
            arms = {name: stage.run(ArmResult, f"{name} {seed}", partial(stages.arm, context, name)) for name in ARMS}
            results.append(stage.run(SeedResult, f"seed {seed}", partial(stages.seed_result, context, arms)))
    measured = measures(results)
    return judged_outcome(
        f"UltraGen reproduced in a toy world, {scale.seeds} seeds",
        CLAIMS,
        measured,
        figures=figures(results),
        tables=tables(results, measured),
        data=[],
    )


def judged_real(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim on the given model and real texts, judged."""
    config, loaded, parts = run.settings, run.model, run.parts
    scale = SCALES[config.preset].real
    with counted_stages(parts, "UltraGen on real texts", 2) as stage:
        witness = stage.run(Witnessed, "witness", partial(witnessed, scale))
        result = stage.run(RealResult, "answers", partial(asked, loaded, scale, config.seed))
    return judged_outcome(
        f"UltraGen's attributes asked of {loaded.name}",
        real_claims(scale.counts),
        real_measures(result, witness),
        figures=real_figures(result),
        tables=real_tables(result),
        data=sources(),
    )


def judged_tuned(run: Run[ReproduceSettings]) -> Outcome:
    """Every claim on the given model before and after its tuning, judged."""
    config, parts, scale, name = run.settings, run.parts, SCALES[run.settings.preset].tuned, run.model.name
    results: dict[str, ModelResult] = {}
    training: dict[str, Trained] = {}
    stages: tuple[tuple[str, Stages], ...] = (("ar", "reconstruction"), ("gpo", "preferences"))
    with (
        TemporaryDirectory() as scratch,
        counted_stages(parts, "UltraGen: tune and ask", 2 * len(MODELS)) as stage,
    ):
        kept = parts.folder if parts.folder is not None else Path(scratch)
        train_texts, other_texts = split(scale)
        data = data_of(kept / "data", train_texts, scale.sets, scale, config.seed)
        held = held_out(kept / "held-out", other_texts, scale, config.seed)

        def result(which: str) -> None:
            ask = partial(measured, loaded, held, scale, parts, which, config.seed)
            results[which] = stage.run(ModelResult, which, ask)

        loaded = run.models.pop("model")  # training changes it: nothing else may hold it
        result("untuned")
        for which, of in stages:
            folder = kept / of
            train = partial(trained, of, data, loaded, scale, folder, config.dtype, config.seed)
            training[of] = stage.run(Trained, of, train)
            loaded = load(str(model_of(folder)), dtype=config.dtype, device=config.device)
            result(which)
        loaded = load(scale.reader, dtype=config.dtype, device=config.device)
        readings = stage.run(dict[str, Reading], "reading", lambda: {
            which: read_by(loaded, [own.responses[0].text for own in results[which].local[str(scale.dense)].sets],
                           held.texts)
            for which in MODELS
        })  # fmt: skip
    values = tuned_measures(results, readings, training, scale)
    return judged_outcome(
        f"UltraGen's tuning of {name}",
        tuned_claims(scale.counts),
        values,
        figures=tuned_figures(results, scale),
        tables=tuned_tables(results, values, held, scale),
        data=sources(),
    )


def _check_packages(settings: ReproduceSettings) -> None:
    optional("trl", "trl")
    optional("peft", "adapters")


REPRODUCTIONS = {
    "ultragen": Reproduction(work=judged),
    "ultragen_real": Reproduction(work=judged_real),
    "ultragen_tuned": Reproduction(work=judged_tuned, check=_check_packages),
}
