"""Model-diff: on how many inputs do two language models disagree, by how much, and on which ones.

"Model-diff: A Tool for Comparative Study of Language Models in the Input Space", Liu, Li, Li, Wang and Shang, 2024,
arXiv 2412.12177. Names resolve lazily, so that the settings can be read without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from armillary.cards import MODELDIFF as CARD

if TYPE_CHECKING:
    from armillary.methods.modeldiff.method import compare as compare
    from armillary.methods.modeldiff.result import Comparison as Comparison

_NAMES = {
    "annotate": ("SheetRow", "export_sheet", "rate", "rating_column", "read_ratings"),
    "config": ("CompareConfig", "InputSpace"),
    "derivations": ("finetuned", "noisy", "rounded"),
    "descent": ("Lineage", "Relative", "known_derivations", "lineage"),
    "direction": ("Direction",),
    "estimate": ("Reliability", "effective_size", "expected_effective_size", "reliability"),
    "human_agreement": ("agreement_with_people",),
    "method": ("compare", "pilot_window", "text_window"),
    "protocols": ("Draws", "Proposal", "Scorer", "Source"),
    "rated": ("PrivateInputs", "RatedDirection"),
    "result": ("Comparison", "Curve", "Example"),
    "source": ("ModelSource",),
    "tempered_source": ("TemperedSource",),
    "tempering": ("TemperedChains", "parallel_tempering"),
    "tempering_ladder": ("Redraw", "TemperedModel"),
    "tempering_model": ("LoadedTempered",),
    "text_mode": ("compare_texts",),
    "text_result": ("TextComparison",),
    "vocabulary": ("same_vocabulary", "vocabulary_hash"),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["CARD", *sorted(_HOMES)]
