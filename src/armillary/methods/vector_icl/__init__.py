"""Vector-ICL: a text model learns in context from vectors of any encoder; only a projector is trained.

"Vector-ICL: In-context Learning with Continuous Vector Representations", Zhuang and others, ICLR 2025, arXiv
2410.05629. What comes out is a projector, and classes, numbers or text for vectors. The method was rebuilt from its
official code; what was chosen by us is named as ours where it stands. Names resolve lazily, so that the settings can
be read without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from armillary.cards import VECTOR_ICL as CARD

if TYPE_CHECKING:
    from armillary.methods.vector_icl.config import Template as Template
    from armillary.methods.vector_icl.config import TrainingConfig as TrainingConfig
    from armillary.methods.vector_icl.estimators import VectorICLClassifier as VectorICLClassifier
    from armillary.methods.vector_icl.estimators import VectorICLGenerator as VectorICLGenerator
    from armillary.methods.vector_icl.estimators import VectorICLRegressor as VectorICLRegressor
    from armillary.methods.vector_icl.fitted_folder import load_fitted as load_fitted
    from armillary.methods.vector_icl.fitted_folder import save_fitted as save_fitted
    from armillary.methods.vector_icl.projector import Projector as Projector
    from armillary.methods.vector_icl.saved import EncoderFacts as EncoderFacts
    from armillary.methods.vector_icl.saved import load_projector as load_projector
    from armillary.methods.vector_icl.saved import save_projector as save_projector

_NAMES = {
    "config": ("PRETRAINING", "Template", "TrainingConfig"),
    "core": ("RidgeStart", "idf_weights", "label_probabilities", "ridge_start"),
    "digits": ("decode_digits", "encode_digits", "first_integer"),
    "embedding": ("TokenStatistics", "embed_with_boxes", "mean_embeddings", "token_statistics"),
    "estimators": ("VectorICLClassifier", "VectorICLGenerator", "VectorICLRegressor"),
    "fitted_folder": ("load_fitted", "save_fitted"),
    "generate": ("continue_queries",),
    "layout": ("Layout", "Row"),
    "losses": ("RowLoss", "row_losses"),
    "prefix": ("SharedPrefix", "label_log_probabilities"),
    "pretrain": ("Continuations", "continuations", "pretrain_projector", "pretraining_row"),
    "projector": ("Projector",),
    "saved": ("EncoderFacts", "load_projector", "save_projector"),
    "training": ("TrainingCurve",),
    "tune": ("tune_on_episodes", "tune_projector"),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["CARD", *sorted(_HOMES)]
