"""Neurons: how active each one is in which text, which tell a capability, and what the model loses without them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
