"""Stages E5 and E6 of the Model-diff reproduction: real weights against copies, and against another tokenizer."""

from typing import Any

import torch

from armillary.data.texts import texts
from armillary.experiments.modeldiff_kin import Keep, curves, effective
from armillary.experiments.modeldiff_scale import Scale
from armillary.methods.modeldiff import CompareConfig, InputSpace, compare
from armillary.methods.modeldiff.derivations import finetuned
from armillary.methods.modeldiff.descent import known_derivations, lineage
from armillary.methods.modeldiff.text_mode import compare_texts
from armillary.models import LoadedModel

Found = dict[str, Any]
FINETUNE_TOKENS = 64
FINETUNE_RATE = 2e-5
CORPUS = "python-reference"


def trained_on(loaded: LoadedModel, scale: Scale, seed: int) -> LoadedModel:
    """A copy really fine-tuned: some steps of AdamW on the texts of one corpus."""
    needed = scale.finetune_steps * scale.finetune_batch
    rows: list[list[int]] = []
    for text in texts(CORPUS, seed=seed):
        ids = loaded.tokenizer(text)["input_ids"]
        rows += [
            ids[start : start + FINETUNE_TOKENS] for start in range(0, len(ids) - FINETUNE_TOKENS, FINETUNE_TOKENS)
        ]
        if len(rows) >= needed:
            break
    return finetuned(
        loaded,
        torch.tensor(rows[:needed]),
        steps=scale.finetune_steps,
        learning_rate=FINETUNE_RATE,
        seed=seed,
        batch_size=scale.finetune_batch,
    )


def copies(loaded: LoadedModel, changed: LoadedModel, scale: Scale, seed: int, keep: Keep) -> Found:
    """E5: features of noisy, rounded and fine-tuned copies over the model's own inputs."""
    found = lineage(
        loaded,
        changed,
        InputSpace(length=scale.real_length),
        CompareConfig(n_samples=scale.real_samples, weighting="profile", replicates=scale.replicates, seed=seed),
        derivations=known_derivations(),
        store=lambda name, make: keep(f"copies {name}", make),
    )
    return {
        one.name: {
            "kind": one.kind,
            "mean": one.spread.mean.to_dict(),
            "deviation": one.spread.deviation.to_dict(),
            "overlap": one.spread.overlap.to_dict(),
        }
        for one in found.relatives
    }


def both_ways(loaded: LoadedModel, changed: LoadedModel, scale: Scale, seed: int, keep: Keep) -> Found:
    """The model and its fine-tuned copy in both directions: curves, examples, effective samples."""
    result = compare(
        loaded,
        changed,
        InputSpace(length=scale.real_length),
        CompareConfig(n_samples=scale.real_samples, weighting="profile", replicates=scale.replicates, seed=seed),
        store=lambda name, make: keep(f"both ways {name}", make),
    )
    far = float("inf")
    return {
        "curves": curves(result),
        "effective": effective(result),
        "reliability": {side: one.sentence() for side, one in result.reliability.items()},
        "profile ess": result.ess,
        "identities": result.identities(),
        "examples": [
            {"text": one.text, "difference": one.difference, "from": one.drawn_from}
            for d in ((-far, 0.0), (0.0, far))
            for one in result.examples(d, 4)
        ],
    }


def other_tokenizer(loaded: LoadedModel, partner: LoadedModel, scale: Scale, seed: int, keep: Keep) -> Found:
    """E6: the model and one with another tokenizer, compared on text."""
    return compare_texts(
        loaded,
        partner,
        length=scale.text_length,
        n_samples=scale.text_samples,
        batch_size=32,
        seed=seed,
        replicates=scale.replicates,
        store=lambda name, make: keep(f"texts {name}", make),
    ).to_dict()
