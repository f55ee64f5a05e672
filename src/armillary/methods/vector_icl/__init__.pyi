import armillary.cards

from .answers import decode_digits as decode_digits, encode_digits as encode_digits, first_integer as first_integer
from .config import (
    PRETRAINING as PRETRAINING,
    FitConfig as FitConfig,
    SlotTemplate as SlotTemplate,
    TrainingConfig as TrainingConfig,
)
from .core import (
    RidgeStart as RidgeStart,
    idf_weights as idf_weights,
    label_probabilities as label_probabilities,
    ridge_start as ridge_start,
)
from .decoding import (
    SharedPrefix as SharedPrefix,
    continue_queries as continue_queries,
    label_log_probabilities as label_log_probabilities,
)
from .embedding import (
    TokenStatistics as TokenStatistics,
    embed_with_slots as embed_with_slots,
    mean_embeddings as mean_embeddings,
    token_statistics as token_statistics,
)
from .estimators import (
    VectorICLClassifier as VectorICLClassifier,
    VectorICLEstimator as VectorICLEstimator,
    VectorICLGenerator as VectorICLGenerator,
    VectorICLRegressor as VectorICLRegressor,
    load_fitted as load_fitted,
)
from .projector import (
    EncoderFacts as EncoderFacts,
    Projector as Projector,
    load_projector as load_projector,
    new_projector as new_projector,
    save_projector as save_projector,
)
from .projector_fit import (
    Continuations as Continuations,
    continuations as continuations,
    pretrain_projector as pretrain_projector,
    pretraining_row as pretraining_row,
    tune_on_episodes as tune_on_episodes,
    tune_projector as tune_projector,
)
from .prompts import Layout as Layout, Row as Row
from .saved_estimator import FittedState as FittedState
from .training import RowLoss as RowLoss, TrainingCurve as TrainingCurve, row_losses as row_losses

CARD: armillary.cards.MethodCard
