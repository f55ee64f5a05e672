from .effect import Described as Described, Effect as Effect, Instrument as Instrument, Line as Line
