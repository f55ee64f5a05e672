"""The recipe of a merge as mergekit reads it, for models too large to merge here."""

import json
from collections.abc import Sequence

from armillary.errors import UsageError
from armillary.methods.bricks.merge_rules import MergeRule

_THEIRS = {
    "average": "linear",
    "task_arithmetic": "task_arithmetic",
    "ties_tensor": "ties",
    "dare": "dare_linear",
    "dare_ties": "dare_ties",
}


def mergekit_recipe(base: str, models: Sequence[str], rule: MergeRule, *, dtype: str = "float32") -> str:
    """YAML for ``mergekit-yaml``: the same rule on models named by folder or hub id.

    An average of models is mergekit's ``linear`` with normalised weights, times the scale only where that is 1. DARE
    draws other entries there than here. Raises UsageError for TIES of another convention than mergekit's, a scaled
    average, or as many models as the rule has not.
    """
    if rule.method not in _THEIRS:
        raise UsageError(f"mergekit has no {rule.method}; its own convention is ties_tensor.")
    if len(models) != len(rule.weights):
        raise UsageError(f"the rule is for {len(rule.weights)} models; got {len(models)}.")
    if rule.method == "average" and rule.scale != 1:
        raise UsageError(f"mergekit's linear has no scale; got {rule.scale}, give 1.")
    lines = [f"merge_method: {_THEIRS[rule.method]}"]
    if rule.method != "average":
        lines.append(f"base_model: {json.dumps(base)}")
    lines.append("models:")
    for model, weight in zip(models, rule.weights, strict=True):
        lines += [f"  - model: {json.dumps(model)}", "    parameters:", f"      weight: {weight!r}"]
        if rule.method in ("ties_tensor", "dare", "dare_ties"):
            lines.append(f"      density: {rule.density!r}")
    normalised = rule.method in ("average", "ties_tensor", "dare_ties")
    lines += ["parameters:", f"  normalize: {str(normalised).lower()}"]
    if rule.method != "average":
        lines.append(f"  lambda: {rule.scale!r}")
    return "\n".join([*lines, f"dtype: {dtype}"]) + "\n"
