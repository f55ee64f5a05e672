"""The ways to merge by name; importable without torch."""

from typing import Literal

Method = Literal["average", "task_arithmetic", "ties_global", "ties_tensor", "ties_peft", "dare", "dare_ties"]
"""What joins several changes of one tensor into one; ``rules.RULES`` says how each works."""
