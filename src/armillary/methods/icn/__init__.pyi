import armillary.cards

from .baselines import first_token_orders as first_token_orders, listed_at_once as listed_at_once
from .chains import (
    Solution as Solution,
    letter_parser as letter_parser,
    number_parser as number_parser,
    official_parser as official_parser,
    solve as solve,
    vote as vote,
)
from .config import ExplorationConfig as ExplorationConfig, NavigationConfig as NavigationConfig
from .core import (
    WithinStrata as WithinStrata,
    capped_order as capped_order,
    expected_share as expected_share,
    in_top_clusters as in_top_clusters,
    mantel_haenszel as mantel_haenszel,
    mmr_order as mmr_order,
    permutation_within as permutation_within,
    rank_strata as rank_strata,
)
from .key_survey import KeySurvey as KeySurvey, survey as survey
from .keys import (
    ClusterFacts as ClusterFacts,
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
