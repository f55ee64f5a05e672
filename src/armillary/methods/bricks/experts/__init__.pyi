from .config import RouterKind as RouterKind, Splitting as Splitting
from .cost import (
    DecodeCost as DecodeCost,
    DecodeTimes as DecodeTimes,
    decode_cost as decode_cost,
    decode_times as decode_times,
)
from .mixtral import mixtral_model as mixtral_model, write_mixtral as write_mixtral
from .modularity import FunctionalExperts as FunctionalExperts, functional_experts as functional_experts
from .partitioning import (
    partition_by_coactivation as partition_by_coactivation,
    partition_by_weights as partition_by_weights,
    partitioned as partitioned,
    random_partition as random_partition,
)
from .quality import (
    RouterRecall as RouterRecall,
    RoutingCurve as RoutingCurve,
    router_recall as router_recall,
    routing_curve as routing_curve,
)
from .routed_model import Routing as Routing, routed as routed
from .router import (
    ExpertChoice as ExpertChoice,
    ExpertScorer as ExpertScorer,
    Router as Router,
    expert_neurons as expert_neurons,
    oracle as oracle,
)
from .router_fit import centroid_router as centroid_router, mlp_router as mlp_router, ridge_router as ridge_router
