"""Where and why satisfaction falls: with the place in the prompt, with the number of attributes, with attention."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
