from .config import DiffConfig as DiffConfig
from .effect import Described as Described, Effect as Effect, Instrument as Instrument, Line as Line
from .evidence import Evidence as Evidence
from .result import DiffResult as DiffResult
from .run import run_diff as run_diff
