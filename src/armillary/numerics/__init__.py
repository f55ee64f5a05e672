"""Pure tensor mathematics; imports nothing of ours but errors. Names resolve lazily: intervals need no torch."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from armillary.numerics.correlation import pearson as pearson
    from armillary.numerics.correlation import pearson_columns as pearson_columns
    from armillary.numerics.correlation import r_squared_columns as r_squared_columns
    from armillary.numerics.correlation import spearman as spearman
    from armillary.numerics.correlation import spearman_columns as spearman_columns
    from armillary.numerics.intervals import Interval as Interval
    from armillary.numerics.intervals import across_seeds as across_seeds
    from armillary.numerics.intervals import binomial as binomial
    from armillary.numerics.intervals import bootstrap as bootstrap
    from armillary.numerics.intervals import bootstrap_mean as bootstrap_mean
    from armillary.numerics.intervals import bootstrap_mean_correlation as bootstrap_mean_correlation
    from armillary.numerics.intervals import bootstrap_weighted as bootstrap_weighted
    from armillary.numerics.intervals import mean_correlation_under_weights as mean_correlation_under_weights
    from armillary.numerics.intervals import paired_difference as paired_difference
    from armillary.numerics.kmeans import KMeans as KMeans
    from armillary.numerics.kmeans import nearest_center as nearest_center
    from armillary.numerics.least_squares import LinearFit as LinearFit
    from armillary.numerics.least_squares import RidgePath as RidgePath
    from armillary.numerics.least_squares import fit_linear as fit_linear
    from armillary.numerics.mixing import round_trips as round_trips
    from armillary.numerics.mixing import split_r_hat as split_r_hat
    from armillary.numerics.mixing import statistical_inefficiency as statistical_inefficiency
    from armillary.numerics.pareto import fit_generalised_pareto as fit_generalised_pareto
    from armillary.numerics.pareto import pareto_k as pareto_k
    from armillary.numerics.reweighting import Mbar as Mbar
    from armillary.numerics.reweighting import Wham as Wham
    from armillary.numerics.reweighting import balance_log_weights as balance_log_weights
    from armillary.numerics.reweighting import mbar as mbar
    from armillary.numerics.reweighting import wham as wham
    from armillary.numerics.spectrum import effective_rank as effective_rank
    from armillary.numerics.spectrum import effective_rank_from_covariance as effective_rank_from_covariance
    from armillary.numerics.spectrum import effective_rank_from_singular_values as effective_rank_from_singular_values
    from armillary.numerics.spectrum import participation_ratio as participation_ratio
    from armillary.numerics.spectrum import singular_values as singular_values
    from armillary.numerics.spectrum import stable_rank as stable_rank

_NAMES = {
    "correlation": ("pearson", "pearson_columns", "r_squared_columns", "spearman", "spearman_columns"),
    "intervals": (
        "Interval",
        "across_seeds",
        "binomial",
        "bootstrap",
        "bootstrap_mean",
        "bootstrap_mean_correlation",
        "bootstrap_weighted",
        "mean_correlation_under_weights",
        "paired_difference",
    ),
    "kmeans": ("KMeans", "nearest_center"),
    "least_squares": ("LinearFit", "RidgePath", "fit_linear"),
    "mixing": ("round_trips", "split_r_hat", "statistical_inefficiency"),
    "pareto": ("fit_generalised_pareto", "pareto_k"),
    "reweighting": ("Mbar", "Wham", "balance_log_weights", "mbar", "wham"),
    "spectrum": (
        "effective_rank",
        "effective_rank_from_covariance",
        "effective_rank_from_singular_values",
        "participation_ratio",
        "singular_values",
        "stable_rank",
    ),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = sorted(_HOMES)
