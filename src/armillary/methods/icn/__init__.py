"""ICN: answers that a language model knows but ranks low, found by listing in the context what it said already.

"Correlation and Navigation in the Vocabulary Key Representation Space of Language Models", Peng, An and Shang, 2024,
arXiv 2410.02284. Names resolve lazily, so that the settings can be read without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from armillary.cards import ICN as CARD

if TYPE_CHECKING:
    from armillary.methods.icn.navigator import Navigator as Navigator

_NAMES = {
    "baselines": ("rivals",),
    "config": ("NavigationConfig",),
    "core": (
        "InClusterShares",
        "WithinStrata",
        "average_precision_at",
        "capped_order",
        "expected_share",
        "in_cluster_shares",
        "in_top_clusters",
        "mantel_haenszel",
        "mmr_order",
        "permutation_within",
        "project_out",
        "rank_strata",
    ),
    "distinct": ("Diversity", "diversity"),
    "generate": ("icn_generate",),
    "keys": ("Cohesion", "Concentration", "KeyClusters", "KeySpace", "auto_clusters"),
    "navigator": ("Navigator",),
    "probing": ("AfterList", "Probing", "unreachable"),
    "result": ("Exploration", "Finding", "Score", "score"),
    "rival_processors": ("ClusterCapProcessor", "KeyMMRProcessor", "QueryProjection"),
    "chains": ("Solution", "letter_parser", "number_parser", "official_parser", "solve", "vote"),
    "key_survey": ("survey",),
    "templates": ("NUMBERED_LIST", "TEMPLATES", "WAYS", "Template", "load_template", "template"),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["CARD", *sorted(_HOMES)]
