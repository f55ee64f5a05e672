"""Next-token logits of many templates over the same subjects, restricted to each template's answer words."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from armillary.errors import NumericError, UsageError
from armillary.methods.lincorr.config import LinCorrConfig, Space
from armillary.methods.lincorr.words import WordTable, refuse_repeated
from armillary.models import LoadedModel
from armillary.models.prompts import chat_text
from armillary.runs.parts import Arrays, Store, kept, part_name
from armillary.runs.settings import changed
from armillary.scoring import branch_logits

CHAT_REQUEST = "Complete the sentence."
"""What the user says in a chat template, so that the prompt can stand at the beginning of the model's answer."""


@dataclass(frozen=True, kw_only=True)
class PromptDomain:
    """A template with one slot and the words that may follow it."""

    template: str
    words: WordTable


@dataclass(frozen=True, kw_only=True)
class LogitTable:
    """What the model says after one template: row i for subject i, column j for token ``words.ids[j]``."""

    template: str
    words: WordTable
    subjects: tuple[str, ...]
    values: NDArray[np.float32]
    """``[subjects, words.ids]``, raw logits or log-probabilities by ``space``."""

    space: Space
    model: str
    """Fingerprint of the model that gave the values."""

    @property
    def collection(self) -> tuple[tuple[str, ...], Space, str]:
        """What tables share that may be fitted to one another: subjects, space and model."""
        return self.subjects, self.space, self.model

    def rows(self, chosen: NDArray[np.int64]) -> Float[Tensor, "n m"]:
        """The chosen rows in float64: half-precision or float32 values are widened before anything is summed."""
        return torch.from_numpy(self.values[chosen].astype(np.float64))


def collect(
    loaded: LoadedModel,
    domains: Sequence[PromptDomain],
    subjects: Sequence[str],
    config: LinCorrConfig | None = None,
    *,
    store: Store | None = None,
    **settings: Any,
) -> list[LogitTable]:
    """One table a domain, in the order given, float32 ``[subjects, tokens]``.

    Templates that have the same text before the slot share the work on it and on the subject; domains of one template
    share everything. ``store`` (such as ``Parts.arrays``) keeps each chunk of subjects, so that a killed run goes on;
    ``settings`` are fields of ``LinCorrConfig``.
    UsageError for a template without exactly one ``{}`` or a repeated subject; NumericError for NaN or infinity.
    """
    config = changed(config or LinCorrConfig(), settings, "LinCorr")
    refuse_repeated(subjects)
    opening = chat_text(loaded, CHAT_REQUEST) if config.chat_template else ""
    columns = _columns_by_template(domains)
    key = part_name("prompts", loaded.identity, columns, config.space, opening)
    blocks: dict[str, list[NDArray[np.float32]]] = {template: [] for template in columns}
    for start in range(0, len(subjects), config.chunk):
        rows = list(subjects[start : start + config.chunk])
        read = partial(_read, loaded, columns, rows, opening, config)
        arrays = kept(store, part_name(f"logits-{start}", key, rows), read)
        for position, template in enumerate(columns):
            values = arrays[f"t{position}"]
            if not np.isfinite(values).all():
                raise NumericError(f"the model gave NaN or infinite logits after the template {template!r}.")
            blocks[template].append(values)
    joined = {template: np.concatenate(parts) for template, parts in blocks.items()}
    return [
        LogitTable(
            template=domain.template,
            words=domain.words,
            subjects=tuple(subjects),
            values=joined[domain.template][:, np.searchsorted(columns[domain.template], domain.words.ids)],
            space=config.space,
            model=loaded.identity,
        )
        for domain in domains
    ]


def split_template(template: str) -> tuple[str, str]:
    """Text before and after the slot; UsageError unless there is exactly one ``{}`` and no white space at the end."""
    before, slot, after = template.partition("{}")
    if not slot or "{}" in after:
        raise UsageError(f"a template needs exactly one {{}} for the subject; got {template!r}.")
    if template != template.rstrip():
        raise UsageError(f"a template must not end in white space, which belongs to the word; got {template!r}.")
    return before, after


def _columns_by_template(domains: Sequence[PromptDomain]) -> dict[str, list[int]]:
    """All ids asked for after each template, sorted."""
    if not domains:
        raise UsageError("there is nothing to collect: give at least one template with its words.")
    columns: dict[str, set[int]] = {}
    for domain in domains:
        split_template(domain.template)
        columns.setdefault(domain.template, set()).update(domain.words.ids)
    return {template: sorted(ids) for template, ids in columns.items()}


def _read(
    loaded: LoadedModel, columns: dict[str, list[int]], subjects: list[str], opening: str, config: LinCorrConfig
) -> Arrays:
    """One chunk of subjects: array ``t0`` for the first template, and so on."""
    positions = {template: position for position, template in enumerate(columns)}
    # Templates that begin alike are read from one cache.
    by_opening: dict[str, list[str]] = {}
    for template in columns:
        by_opening.setdefault(split_template(template)[0], []).append(template)
    arrays: Arrays = {}
    for before, templates in by_opening.items():
        values = branch_logits(
            loaded,
            [opening + before + subject for subject in subjects],
            [split_template(template)[1] for template in templates],
            [columns[template] for template in templates],
            batch_size=config.batch_size,
            log_probabilities=config.space == "logp",
            label="reading next-token logits",
        )
        arrays.update({f"t{positions[t]}": value for t, value in zip(templates, values, strict=True)})
    return arrays
