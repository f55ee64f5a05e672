"""The ways to split an FFN into experts by name; importable without torch."""

from typing import Literal

Splitting = Literal["weights", "coactivation", "random"]
"""By rows of the gate that point the same way, by what is large at the same tokens, or by lot: the baseline."""
