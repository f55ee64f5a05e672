"""From suppliers by position to a sample: ids, the edges of steps, and what is done about circles."""

from collections.abc import Collection, Sequence

from armillary.methods.ordering.steps import Sample, Step

Suppliers = Sequence[Collection[int]]
"""For each step the positions, from 0, of the steps that support it."""


def linked(
    texts: Sequence[str],
    suppliers: Suppliers,
    *,
    prompt: str = "",
    key: str = "",
    kinds: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
    premises: Suppliers | None = None,
    inferred: bool = True,
) -> Sample:
    """The sample of these texts in their order; ids count from 1 where none are given.

    Edges inside a circle are left out (see ``without_circles``). A step's ``inferred`` says that it has edges and
    that they were guessed from its text.
    """
    names = ids or [str(number) for number in range(1, len(texts) + 1)]
    named = _named(names, without_circles(suppliers))
    logical = None if premises is None else _named(names, without_circles(premises))
    steps = tuple(
        Step(
            id=names[place],
            text=text,
            kind=kinds[place] if kinds else "step",
            deps=named[place],
            premises=None if logical is None else logical[place],
            inferred=inferred and bool(named[place] or (logical and logical[place])),
        )
        for place, text in enumerate(texts)
    )
    return Sample(prompt=prompt, steps=steps, key=key)


def _named(names: Sequence[str], suppliers: Suppliers) -> list[tuple[str, ...]]:
    return [tuple(names[place] for place in sorted(places)) for places in suppliers]


def without_circles(suppliers: Suppliers) -> list[set[int]]:
    """The edges without those between steps that support each other in a circle, self-support included.

    Two functions that call each other have no order in which each stands left of its user: such edges say nothing
    about order, and any that point out of the circle are kept.
    """
    edges = [set(places) - {place} for place, places in enumerate(suppliers)]
    if all(not places or max(places) < place for place, places in enumerate(edges)):
        return edges  # every support stands to the left: no circle is possible
    component = _components(edges)
    return [{u for u in places if component[u] != component[v]} for v, places in enumerate(edges)]


def _components(edges: Sequence[Collection[int]]) -> list[int]:
    """Number of each node's strongly connected component (Tarjan 1972, SIAM J. Comput. 1, without recursion)."""
    unseen = -1
    index, low, component = ([unseen] * len(edges) for _ in range(3))
    count, stack = 0, []
    for root in range(len(edges)):
        if index[root] != unseen:
            continue
        path = [(root, iter(edges[root]))]
        index[root] = low[root] = count
        count += 1
        stack.append(root)
        while path:
            node, following = path[-1]
            for other in following:
                if index[other] == unseen:
                    index[other] = low[other] = count
                    count += 1
                    stack.append(other)
                    path.append((other, iter(edges[other])))
                    break
                if component[other] == unseen:
                    low[node] = min(low[node], index[other])
            else:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[node])
                if low[node] == index[node]:
                    while component[node] == unseen:
                        component[stack.pop()] = node
    return component
