"""Hidden values read by streaming reductions; hooks live only inside context managers."""

from armillary.activations.reducers import Keep, LayerSparsity, Moments, Sparsity
from armillary.activations.stream import Reducer, Site, run_texts, streaming

__all__ = ["Keep", "LayerSparsity", "Moments", "Reducer", "Site", "Sparsity", "run_texts", "streaming"]
