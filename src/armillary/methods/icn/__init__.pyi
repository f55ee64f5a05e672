import armillary.cards

from .baselines import (
    ClusterCapProcessor as ClusterCapProcessor,
    KeyMMRProcessor as KeyMMRProcessor,
    QueryProjection as QueryProjection,
    rivals as rivals,
)
from .chains import (
    Solution as Solution,
    letter_parser as letter_parser,
    number_parser as number_parser,
    official_parser as official_parser,
    solve as solve,
    vote as vote,
)
from .config import NavigationConfig as NavigationConfig
from .core import (
    InClusterShares as InClusterShares,
    WithinStrata as WithinStrata,
    average_precision_at as average_precision_at,
    capped_order as capped_order,
    expected_share as expected_share,
    in_cluster_shares as in_cluster_shares,
    in_top_clusters as in_top_clusters,
    mantel_haenszel as mantel_haenszel,
    mmr_order as mmr_order,
    permutation_within as permutation_within,
    project_out as project_out,
    rank_strata as rank_strata,
)
from .key_survey import survey as survey
from .keys import (
    Cohesion as Cohesion,
    Concentration as Concentration,
    KeyClusters as KeyClusters,
    KeySpace as KeySpace,
    auto_clusters as auto_clusters,
)
from .navigator import Navigator as Navigator, icn_generate as icn_generate
from .probing import AfterList as AfterList, Probing as Probing, unreachable as unreachable
from .result import (
    Answer as Answer,
    Diversity as Diversity,
    Exploration as Exploration,
    ListScore as ListScore,
    diversity as diversity,
    score as score,
)
from .templates import (
    NUMBERED_LIST as NUMBERED_LIST,
    TEMPLATES as TEMPLATES,
    WAYS as WAYS,
    ListTemplate as ListTemplate,
    load_template as load_template,
    template as template,
)

CARD: armillary.cards.MethodCard
