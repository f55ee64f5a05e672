"""The given model tuned by the code of ``armillary ultragen build`` and ``train``, on texts of some packages alone.

Training texts and held-out ones come from different packages of the library, and so do the attributes of the global
sets that are trained and judged on: nothing that is judged was derived from a text that was learned.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from armillary.attributes.attribute_set import AttributeSet
from armillary.methods.ultragen.analyse.counts import nested_sets
from armillary.methods.ultragen.building import BuildPlan, PairPlan, built
from armillary.methods.ultragen.config import (
    ExpansionConfig,
    PairConfig,
    PreferenceConfig,
    ReconstructionConfig,
    SamplingConfig,
    SpaceConfig,
)
from armillary.methods.ultragen.pairing import set_seed
from armillary.methods.ultragen.set_files import StoredSet, read_sets, stored, write_lines
from armillary.methods.ultragen.tuning import MODEL, Stages, TuningPlan, tuned
from armillary.models.loaded import LoadedModel
from armillary.numerics.intervals import Interval
from armillary.records.plain import dumps
from armillary.runs.parts import Parts
from reproductions.ultragen.real.texts import documented, split_by_package
from reproductions.ultragen.scale import TUNED_BEST_OF, TunedScale

TEMPERATURE = 0.9
"""Of the responses that preferences are made of: the default of ``armillary ultragen train``."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """How a stage of training went: rows, and the last loss."""

    measures: dict[str, Interval]


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """What every model is asked, the same prompts in the same words."""

    texts: list[str]
    local: dict[int, list[StoredSet]]
    """By number of attributes: nested sets of each text's own, in the order of ``texts``."""

    wide: list[StoredSet]
    """Sets of ``scale.dense`` attributes of different held-out texts."""


def data_of(folder: Path, texts: Sequence[str], sets: int, scale: TunedScale, seed: int) -> Path:
    """The folder of ``armillary ultragen build`` on these texts, with so many global sets; made once."""
    if not (folder / "sets.jsonl").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_lines(folder / "texts.jsonl", (dumps({"text": text}) for text in texts))
        plan = BuildPlan(
            texts=str(folder / "texts.jsonl"), field="text", limit=None, n=scale.dense, most_words=512, test_share=0,
            sets=sets, space=SpaceConfig(triplets=scale.triplets, seed=seed),
            expansion=ExpansionConfig(size=(scale.dense, scale.dense), soft=(0, 0), seed=seed), encoder=None,
            pairs=_pairs(scale, seed), seed=seed,
        )  # fmt: skip
        built(plan, Parts(folder, "data"), folder, None)
    return folder


def split(scale: TunedScale) -> tuple[list[str], list[str]]:
    """Texts to reconstruct, and held-out ones of other packages."""
    # Somewhat more than are asked for: a few texts have fewer attributes than the largest number.
    train, held_out = split_by_package(documented(), scale.prompts + scale.prompts // 3)
    return train[: scale.texts], held_out


def held_out(folder: Path, texts: Sequence[str], scale: TunedScale, seed: int) -> HeldOut:
    """The prompts that are judged, from texts that nothing is trained on."""
    most = max(scale.counts)
    kept: list[str] = []
    local: dict[int, list[StoredSet]] = {count: [] for count in scale.counts}
    for text in texts:
        whole = AttributeSet.from_text(text, n=most, seed=seed)
        if len(whole.attributes) == most and len(kept) < scale.prompts:
            kept.append(text)
            for count, few in nested_sets(whole, scale.counts, seed=seed).items():
                local[count].append(stored(few, set_seed(seed, len(kept)), text))
    data = data_of(folder, texts, scale.prompts, scale, seed)
    return HeldOut(texts=kept, local=local, wide=read_sets(data / "sets.jsonl"))


def trained(
    stage: Stages, data: Path, loaded: LoadedModel, scale: TunedScale, folder: Path, dtype: str, seed: int
) -> Trained:
    """One stage, whose model stands in ``folder`` under ``MODEL`` afterwards; the model that is given is changed."""
    plan = TuningPlan(
        data=str(data),
        stages=stage,
        reconstruction=ReconstructionConfig(
            learning_rate=scale.rate, epochs=1, accumulation=scale.accumulation, max_tokens=scale.max_tokens,
            lora_rank=scale.rank, save_steps=SAVED, seed=seed,
        ),
        preferences=PreferenceConfig(
            learning_rate=scale.preference_rate, epochs=scale.preference_epochs,
            accumulation=scale.preference_accumulation, max_tokens=scale.max_tokens, lora_rank=scale.rank,
            save_steps=SAVED, seed=seed,
        ),
        pairs=_pairs(scale, seed),
        dtype=dtype,
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    return Trained(measures=tuned(plan, loaded, Parts(folder, stage), folder).measures)


SAVED = 15
"""Optimiser steps between checkpoints: four minutes that a kill may lose."""


def model_of(folder: Path) -> Path:
    """Where the model of a stage stands."""
    return folder / MODEL


def _pairs(scale: TunedScale, seed: int) -> PairPlan:
    return PairPlan(
        config=PairConfig(k=TUNED_BEST_OF, margin=scale.margin),
        sampling=SamplingConfig(max_new_tokens=scale.new_tokens, temperature=TEMPERATURE, batch_size=scale.batch),
        chat=True,  # only how pairs are kept between stages
        seed=seed,
    )
