from .reducers import LayerSparsity as LayerSparsity, Moments as Moments, Sparsity as Sparsity
from .stream import Reducer as Reducer, Site as Site, run_texts as run_texts, streaming as streaming
