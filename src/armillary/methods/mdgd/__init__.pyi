import armillary.cards

from .baselines import (
    BASELINES as BASELINES,
    DistillationMixin as DistillationMixin,
    L2SPMixin as L2SPMixin,
    interpolate_ as interpolate_,
    keep_patch_ as keep_patch_,
    language_lora as language_lora,
    orthogonal_subspace as orthogonal_subspace,
    trainable_weights as trainable_weights,
)
from .callbacks import VisualRank as VisualRank, VisualRankCallback as VisualRankCallback, visual_rank as visual_rank
from .config import PRESETS as PRESETS, MDGDSettings as MDGDSettings
from .core import (
    DecouplingStatistics as DecouplingStatistics,
    decouple as decouple,
    decouple_ as decouple_,
    project_out as project_out,
)
from .drift import (
    drift_loss as drift_loss,
    relative_drift as relative_drift,
    visual_hidden_states as visual_hidden_states,
)
from .forgetting import (
    ForgettingTable as ForgettingTable,
    forgetting_table as forgetting_table,
)
from .masking import MaskedAdamW as MaskedAdamW, topk_indices as topk_indices, topk_mask as topk_mask
from .reference import (
    AdapterReference as AdapterReference,
    CachedReference as CachedReference,
    CopiedReference as CopiedReference,
    StateReference as StateReference,
)
from .trainer import MDGDConfig as MDGDConfig, MDGDMixin as MDGDMixin, MDGDTrainer as MDGDTrainer

CARD: armillary.cards.MethodCard
