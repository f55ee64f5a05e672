"""Experts: feed-forward blocks split into groups of neurons, of which each token runs some, chosen by a router."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
