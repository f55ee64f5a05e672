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
from .encoders import HashedWords as HashedWords, MeanPooled as MeanPooled, OnFeatures as OnFeatures
from .evaluation import (
    EvaluatedSet as EvaluatedSet,
    SatisfactionSummary as SatisfactionSummary,
    ScoredResponse as ScoredResponse,
    scored_response as scored_response,
    summarised as summarised,
)
from .pairing import (
    PreferencePair as PreferencePair,
    Preferences as Preferences,
    build_preferences as build_preferences,
    chosen_pair as chosen_pair,
    preferences as preferences,
)
from .quality import TextQuality as TextQuality, quality_of as quality_of, repeated_ngrams as repeated_ngrams
from .rewards import (
    AttributeVerifier as AttributeVerifier,
    VerificationResult as VerificationResult,
    reward_fn as reward_fn,
    reward_with as reward_with,
)
from .sampling import (
    BestOf as BestOf,
    Sampler as Sampler,
    best_of_curve as best_of_curve,
    expected_best as expected_best,
    outline_then_write as outline_then_write,
    responses as responses,
    sampler_of as sampler_of,
)
from .space import (
    AttributeSpace as AttributeSpace,
    Triplet as Triplet,
    draw_triplets as draw_triplets,
    tune_encoder as tune_encoder,
)
from .training import TrainedStage as TrainedStage, prefer as prefer, reconstruct as reconstruct
from .training_data import (
    DocumentSplit as DocumentSplit,
    Reconstruction as Reconstruction,
    build_ar_dataset as build_ar_dataset,
    reconstructions as reconstructions,
    split_documents as split_documents,
    truncated as truncated,
)

CARD: armillary.cards.MethodCard
