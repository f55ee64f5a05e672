import armillary.cards

from .base import BaseRef as BaseRef
from .brick import (
    Brick as Brick,
    BrickMeta as BrickMeta,
    CapabilityScore as CapabilityScore,
    Keys as Keys,
    Provenance as Provenance,
)
from .editing import (
    Fact as Fact,
    FactEdit as FactEdit,
    Neighbour as Neighbour,
    capital_facts as capital_facts,
    choose_layer as choose_layer,
    edit_fact as edit_fact,
    edit_facts as edit_facts,
    edit_outcome as edit_outcome,
    key_covariances as key_covariances,
    score_edits as score_edits,
    side_effects as side_effects,
)
from .experts import (
    Router as Router,
    centroid_router as centroid_router,
    decode_cost as decode_cost,
    decode_times as decode_times,
    functional_experts as functional_experts,
    mlp_router as mlp_router,
    oracle as oracle,
    partition_by_coactivation as partition_by_coactivation,
    partition_by_weights as partition_by_weights,
    random_partition as random_partition,
    ridge_router as ridge_router,
    routed as routed,
    router_recall as router_recall,
    routing_curve as routing_curve,
    write_mixtral as write_mixtral,
)
from .growth import (
    Grown as Grown,
    adapter_training as adapter_training,
    add_expert as add_expert,
    grow_layers as grow_layers,
    grow_neurons as grow_neurons,
    neuron_training as neuron_training,
    open_experts as open_experts,
    preservation as preservation,
    split_into_experts as split_into_experts,
    split_neurons as split_neurons,
    train_on_texts as train_on_texts,
    train_only_new as train_only_new,
    upcycle as upcycle,
)
from .library import (
    BrickLibrary as BrickLibrary,
    MidLayerEncoder as MidLayerEncoder,
    arrow_retrieve as arrow_retrieve,
    brick_from_adapter as brick_from_adapter,
    make_keys as make_keys,
    mounted as mounted,
    read_adapter as read_adapter,
    read_brick as read_brick,
    retrieve as retrieve,
    write_adapter as write_adapter,
    write_brick as write_brick,
)
from .losses import LossEffect as LossEffect, Losses as Losses, effect as effect, text_losses as text_losses
from .merging import (
    MergeRule as MergeRule,
    merge as merge,
    merge_models as merge_models,
    mergekit_recipe as mergekit_recipe,
)
from .neurons import (
    AblationTable as AblationTable,
    FunctionalScores as FunctionalScores,
    Profile as Profile,
    ProfileConfig as ProfileConfig,
    Survey as Survey,
    ablate as ablate,
    ablated as ablated,
    ablation_curve as ablation_curve,
    cett_curve as cett_curve,
    firing_examples as firing_examples,
    functional_scores as functional_scores,
    magnitude_matched as magnitude_matched,
    null_scores as null_scores,
    overlap as overlap,
    profile as profile,
    random_like as random_like,
    resident as resident,
    specialised as specialised,
    survey as survey,
)
from .payloads import (
    Index as Index,
    LowRank as LowRank,
    Partition as Partition,
    Site as Site,
    Thresholds as Thresholds,
)
from .sparsity import (
    calibrate as calibrate,
    matrix_inputs as matrix_inputs,
    sparsified as sparsified,
    token_bytes as token_bytes,
)

CARD: armillary.cards.MethodCard
