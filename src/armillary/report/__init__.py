"""A run's record as one HTML file and as a table in the terminal. Reads plain data only; no model, no torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
