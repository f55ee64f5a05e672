"""The knowledge graph's policy: paths of a graph as text, their worth to a reader, and a model trained on them.

All words are ours: the paper lets GPT-4 write chains and questions, which ``chat`` does with any chat model.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
