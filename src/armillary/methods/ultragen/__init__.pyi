import armillary.cards

from .config import (
    ExpansionConfig as ExpansionConfig,
    PairConfig as PairConfig,
    PreferenceConfig as PreferenceConfig,
    ReconstructionConfig as ReconstructionConfig,
    SamplingConfig as SamplingConfig,
    SpaceConfig as SpaceConfig,
    StageConfig as StageConfig,
)
from .core import (
    preference_loss as preference_loss,
    reconstruction_loss as reconstruction_loss,
    token_log_probabilities as token_log_probabilities,
    triplet_accuracy as triplet_accuracy,
    triplet_loss as triplet_loss,
)
from .quality import TextQuality as TextQuality, quality_of as quality_of, repeated_ngrams as repeated_ngrams
from .sampling import (
    BestOf as BestOf,
    Sampler as Sampler,
    best_of_curve as best_of_curve,
    expected_best as expected_best,
    outline_then_write as outline_then_write,
    responses as responses,
    sampler_of as sampler_of,
)
from .training import TrainedStage as TrainedStage, prefer as prefer, reconstruct as reconstruct

CARD: armillary.cards.MethodCard
