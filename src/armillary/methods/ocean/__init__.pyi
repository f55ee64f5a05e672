import armillary.cards

from .config import OceanSettings as OceanSettings
from .core import effective_sample_size as effective_sample_size, token_shares as token_shares
from .estimate import (
    Estimate as Estimate,
    FittedQ as FittedQ,
    Resampling as Resampling,
    doubly_robust as doubly_robust,
    fit_q as fit_q,
    kg_ips as kg_ips,
)
from .report import OceanPage as OceanPage, alignment_page as alignment_page, value_page as value_page
from .rows import (
    ChainRow as ChainRow,
    LoggedChain as LoggedChain,
    TokenRows as TokenRows,
    read_chains as read_chains,
    token_rows as token_rows,
)
from .scores import ScoredChains as ScoredChains, score_chains as score_chains
from .trainer import OceanConfig as OceanConfig, OceanTrainer as OceanTrainer

CARD: armillary.cards.MethodCard
