"""Fine-tuning of a projector on a task: packs of examples in the template that demonstrations have, too.

Legend: N vectors (as many neighbours an example as the template has slots), E encoder width.
"""

from collections.abc import Container, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from armillary.errors import UsageError
from armillary.methods.vector_icl.config import Template, TrainingConfig
from armillary.methods.vector_icl.layout import Ids, Layout, Row, check_targets, joined, text_ids
from armillary.methods.vector_icl.projector import Projector
from armillary.methods.vector_icl.training import Order, Pack, TrainingCurve, train
from armillary.models.loaded import LoadedModel


def tune_projector(
    loaded: LoadedModel,
    projector: Projector,
    vectors: Float[Tensor, "n e"],
    targets: Sequence[str],
    template: Template,
    config: TrainingConfig | None = None,
    *,
    groups: Sequence[int] | None = None,
    balance: bool = False,
) -> TrainingCurve:
    """Change ``projector`` in place so that each example's target follows its text and boxes.

    ``groups`` (ours) keeps to one sequence examples of one group, such as points of one function; ``balance`` shows
    each target equally often. Raises as ``train``; UsageError for an empty target or unequal numbers.
    """
    layout, examples = Layout.of(loaded, template), len(targets)
    _check_numbers(vectors, examples, template, groups)
    check_targets(targets)
    told = [text_ids(loaded, target) for target in targets]

    def lesson(pack: Pack, _: torch.Generator) -> Row:
        return joined([layout.start(), *(layout.lesson(index, told[index]) for index in pack)])

    classes = [sorted(set(targets)).index(target) for target in targets] if balance else None
    order = _order(examples, classes, groups)
    return train(loaded, projector, vectors, lesson, order, config or TrainingConfig(), label="tuning the projector")


def tune_on_episodes(
    loaded: LoadedModel,
    projector: Projector,
    vectors: Float[Tensor, "n e"],
    classes: Sequence[int],
    words: Sequence[str],
    template: Template,
    config: TrainingConfig | None = None,
    *,
    ways: int | None = None,
    sets: Sequence[int] | None = None,
) -> TrainingCurve:
    """As ``tune_projector``, but every sequence draws anew which word stands for which class (ours).

    Only the demonstrations of the sequence say what a word means, so the projector can't learn the classes' names.
    With ``ways`` a sequence keeps examples of so many classes, drawn anew; others of its pack are left out. ``sets``
    tell which data set each example is of: the classes of one sequence then come from one. UsageError for fewer words
    than classes.
    """
    layout, known = Layout.of(loaded, template), sorted(set(classes))
    _check_numbers(vectors, len(classes), template, None)
    count = len(known) if ways is None else ways
    if not 1 <= count <= min(len(known), len(words)):
        raise UsageError(f"{count} classes in a sequence need as many classes and words; there are {len(known)} "
                         f"and {len(words)}.")  # fmt: skip
    told = [text_ids(loaded, word) for word in words]
    set_of = dict(zip(classes, sets or [0] * len(classes), strict=True))

    def lesson(pack: Pack, generator: torch.Generator) -> Row:
        drawn = [known[index] for index in torch.randperm(len(known), generator=generator).tolist()]
        chosen = together(drawn, {classes[index] for index in pack}, set_of)[:count]
        names: dict[int, Ids] = {
            one: told[word]
            for one, word in zip(chosen, torch.randperm(len(told), generator=generator).tolist(), strict=False)
        }
        return joined(
            [
                layout.start(),
                *(layout.lesson(index, names[classes[index]]) for index in pack if classes[index] in names),
            ]
        )

    order = _order(len(classes), classes, None)
    return train(loaded, projector, vectors, lesson, order, config or TrainingConfig(), label="tuning on episodes")


def together(drawn: Sequence[int], present: Container[int], set_of: Mapping[int, int]) -> list[int]:
    """Of the classes in their drawn order those that are present and of the first such one's data set."""
    there = [one for one in drawn if one in present]
    return [one for one in there if set_of[one] == set_of[there[0]]]


def balanced_order(classes: Sequence[int], generator: torch.Generator) -> Pack:
    """Examples so that each run of as many as there are classes has one of each; small classes come repeatedly."""
    members: dict[int, Pack] = {}
    for index, one in enumerate(classes):
        members.setdefault(one, []).append(index)
    most = max(len(rows) for rows in members.values())
    columns = []
    for one in sorted(members):
        rows = [members[one][place] for place in torch.randperm(len(members[one]), generator=generator).tolist()]
        columns.append((rows * -(-most // len(rows)))[:most])
    out: Pack = []
    for place in range(most):
        out += [columns[one][place] for one in torch.randperm(len(columns), generator=generator).tolist()]
    return out


def _order(examples: int, classes: Sequence[int] | None, groups: Sequence[int] | None) -> Order:
    def order(generator: torch.Generator) -> list[Pack]:
        if classes is None:
            shuffled = torch.randperm(examples, generator=generator).tolist()
        else:
            shuffled = balanced_order(classes, generator)
        if groups is None:
            return [shuffled]
        return [[index for index in shuffled if groups[index] == group] for group in sorted(set(groups))]

    return order


def _check_numbers(vectors: Tensor, examples: int, template: Template, groups: Sequence[int] | None) -> None:
    if not examples or len(vectors) != examples * template.boxes:
        raise UsageError(
            f"{examples} examples of {template.boxes} vectors each came with {len(vectors)} vectors; give one or more."
        )
    if groups is not None and len(groups) != examples:
        raise UsageError(f"{examples} examples came with {len(groups)} groups; give one each.")
