from .core import effective_sample_size as effective_sample_size, token_shares as token_shares
from .estimate import (
    Estimate as Estimate,
    FittedQ as FittedQ,
    Resampling as Resampling,
    doubly_robust as doubly_robust,
    fit_q as fit_q,
    kg_ips as kg_ips,
)
