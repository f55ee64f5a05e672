from .mending import Mended as Mended, mended as mended
from .resampling import is_uninformative as is_uninformative, redrawn as redrawn
from .resolution import Resolution as Resolution, resolve as resolve
from .unmet import NeverMet as NeverMet, SetOutcomes as SetOutcomes, never_met as never_met
from .verification import ErrorRate as ErrorRate, Verification as Verification, Verifier as Verifier
