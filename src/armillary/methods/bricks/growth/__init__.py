"""Growth: more neurons, layers or experts without changing a logit, and training of the new parts alone."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
