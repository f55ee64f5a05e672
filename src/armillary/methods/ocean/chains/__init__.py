"""Chains of thought checked step by step: by facts of a graph looked up, or by passages that they should rest on."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
