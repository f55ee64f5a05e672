import armillary.cards

from .config import CoMMITConfig as CoMMITConfig
from .controller import BalanceProbe as BalanceProbe, CoMMITController as CoMMITController
from .trainer import (
    BalanceMonitor as BalanceMonitor,
    CoMMITCallback as CoMMITCallback,
    CoMMITMixin as CoMMITMixin,
    CoMMITTrainer as CoMMITTrainer,
)

CARD: armillary.cards.MethodCard
