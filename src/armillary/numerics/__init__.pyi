from .clustering import KMeans as KMeans
from .correlation import (
    pearson as pearson,
    pearson_columns as pearson_columns,
    spearman as spearman,
    spearman_columns as spearman_columns,
)
from .intervals import (
    Interval as Interval,
    across_seeds as across_seeds,
    binomial as binomial,
    bootstrap as bootstrap,
    bootstrap_mean as bootstrap_mean,
    bootstrap_weighted as bootstrap_weighted,
    mean_correlation_under_weights as mean_correlation_under_weights,
    paired_difference as paired_difference,
)
from .least_squares import LinearFit as LinearFit, RidgePath as RidgePath, fit_linear as fit_linear
from .mixing import (
    round_trips as round_trips,
    split_r_hat as split_r_hat,
    statistical_inefficiency as statistical_inefficiency,
)
from .pareto import fit_generalised_pareto as fit_generalised_pareto, pareto_k as pareto_k
from .reweighting import (
    Mbar as Mbar,
    balance_log_weights as balance_log_weights,
    mbar as mbar,
)
from .spectrum import (
    effective_rank as effective_rank,
    effective_rank_from_covariance as effective_rank_from_covariance,
    effective_rank_from_singular_values as effective_rank_from_singular_values,
    rms_normalised as rms_normalised,
    singular_values as singular_values,
    sink_rows as sink_rows,
)
