"""LinCorr: a linear map between the next-token logits of two prompts, how well it fits, and whether it mirrors facts.

"Linear Correlation in LM's Compositional Generalization and Hallucination", Peng, An, Hao, Dong and Shang, 2025,
arXiv 2502.04520. Names resolve lazily, so that the settings can be read without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from armillary.cards import LINCORR as CARD

if TYPE_CHECKING:
    from armillary.methods.lincorr.config import LinCorrConfig as LinCorrConfig
    from armillary.methods.lincorr.method import lincorr as lincorr

_NAMES = {
    "completeness": ("Completeness", "by_completeness", "whole_word_advantage"),
    "config": ("LinCorrConfig",),
    "edit": ("Edit", "edit_and_trace"),
    "fit": ("RelationFit",),
    "gradient": ("GradientCorrelation", "gradient_correlation"),
    "matrix": ("CorrelationMatrix", "correlation_matrix", "prompt_tables"),
    "measurement": ("RelationTables", "fit_relation", "measure", "relation_tables", "restricted"),
    "method": ("Study", "lincorr", "recollect", "study"),
    "precision": ("HitRate", "chance_hit", "hit_at"),
    "resilience": ("TransferResult", "transfer"),
    "result": ("RelationResult",),
    "spillover": ("SpilloverResult", "combine_edits"),
    "subjects": ("halves", "random_words", "vocabulary_subjects"),
    "tables": ("LogitTable", "PromptDomain", "collect"),
    "vocabulary": ("VocabularyConfig", "VocabularyResult", "vocabulary_feed_forward"),
    "words": ("WordTable", "preferred_prefix", "resolve_words"),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["CARD", *sorted(_HOMES)]
