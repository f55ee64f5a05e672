"""CoMMIT: measure how far encoder and language model each move the output, and set their learning rates by it.

"CoMMIT: Coordinated Multimodal Instruction Tuning", Li and others, EMNLP 2025, arXiv 2407.20454. What comes out is the
trained model, the balance of its two components over time, and their rates. The published equations (3) to (9) were
not at hand: what was rebuilt from descriptions or chosen by us is named as ours where it stands.
"""

import importlib
from typing import TYPE_CHECKING, Any

from armillary.cards import COMMIT as CARD

if TYPE_CHECKING:
    from armillary.methods.commit.callback import BalanceMonitor as BalanceMonitor
    from armillary.methods.commit.callback import CoMMITCallback as CoMMITCallback
    from armillary.methods.commit.config import CoMMITConfig as CoMMITConfig
    from armillary.methods.commit.controller import CoMMITController as CoMMITController
    from armillary.methods.commit.controller import Probe as Probe
    from armillary.methods.commit.core import BalanceFigures as BalanceFigures
    from armillary.methods.commit.core import balance_figures as balance_figures
    from armillary.methods.commit.trainer import CoMMITMixin as CoMMITMixin
    from armillary.methods.commit.trainer import CoMMITTrainer as CoMMITTrainer

_NAMES = {
    "callback": ("BalanceMonitor", "CoMMITCallback"),
    "config": ("CoMMITConfig",),
    "controller": ("CoMMITController", "Probe"),
    "core": ("BalanceFigures", "balance_figures"),
    "trainer": ("CoMMITMixin", "CoMMITTrainer"),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["CARD", *sorted(_HOMES)]
