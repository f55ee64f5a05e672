"""What the frozen parts of a model gave, kept so that they need not run again where they are given the same.

A probe reads one batch several times, and a part that no one trains gives the same whenever it is given the same: the
vision tower in each reading, the language model's layers below the first trained one wherever the connector is as it
was, and both what they gave in the training step's own pass of this batch, if nothing random was drawn there.

Nothing is guessed from names or from the order of layers. A part is passed over only where all that it is given equals
what it was given before, and that this is enough is checked against the part itself: in each kind of reading the first
time, and by turns later. One that gives something else there is never passed over again in that kind of reading, and
the probe is to be made anew without this economy.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten
from transformers import PreTrainedConfig

from armillary.methods.commit.reading import NOT_INPUTS, Parameters, products_are_exact

# A prime, so that by turns it meets every part; two layers a probe of some fifty passed over cost little.
_CHECK_EACH = 31
_PLAIN = (bool, int, float, str, type(None), torch.dtype, torch.device)


class FrozenParts:
    """Keeps, from one reading or the training pass to the next, what the frozen parts of a model gave."""

    def __init__(self, model: nn.Module, components: Mapping[str, Parameters]) -> None:
        """``components``: the trained parameters by component.

        What runs after parameters of all of them would not be given the same once more and is not kept. The memory is
        that of one state for each frozen layer below, from the training pass to the end of the probe.
        """
        self.model = model
        self.failed = False
        """True from a check that failed until ``forget``; meanwhile every part runs."""

        self._owner = {id(value): name for name, part in components.items() for value in part.values()}
        self._trained = [value for part in components.values() for value in part.values()]
        self._kept: dict[nn.Module, _Kept] = {}
        self._holds: dict[tuple[nn.Module, str], bool] = {}
        self._passed_over = 0
        self._waiting: set[str] = set()
        self._hooks = ExitStack()
        self._random: list[Tensor] = []

    @contextmanager
    def once(self, reading: str, *, keep: bool = False) -> Iterator[None]:
        """Around a pass in eval mode without gradient: parts that are given the same as before don't run.

        ``reading`` names the kind of pass, each of which is checked by itself. With ``keep``, what the others give is
        kept for the passes that follow.
        """
        if self.failed:
            yield
            return
        with ExitStack() as stack:
            self._waiting = set()
            if keep:
                self._await_components(stack)
            for part in self._parts():
                hung = vars(part)
                before = hung.get("forward")
                hung["forward"] = self._passing_over(part, part.forward, reading)
                stack.callback(hung.__setitem__ if before is not None else hung.pop, "forward", before)
            yield

    def listen(self) -> None:
        """From now to ``hush``, keep what frozen parts give in the model's latest pass in training mode.

        Not under autocast or with products coarser than the weights, nor after anything random was drawn in the pass
        (dropout): a probe reads without these. It also reads without a cache of keys and values, so a model of
        transformers makes none in that pass, unless the caller asks for one; its numbers are the same.
        """
        self.hush()
        if not {value.device.type for value in self.model.parameters()} <= {"cpu", "cuda"}:
            return  # the state of other devices' generators can't be read by one way
        hooks = [self.model.register_forward_pre_hook(self._begin, with_kwargs=True)]
        hooks += [part.register_forward_hook(self._hear, with_kwargs=True) for part in self._parts()]
        for hook in hooks:
            self._hooks.callback(hook.remove)
        self._await_components(self._hooks)
        self._waiting = set()

    def hush(self) -> None:
        """End what ``listen`` began; what was kept stays."""
        self._hooks.close()

    def forget(self) -> None:
        """Let go of all that was kept; which parts failed a check stays known."""
        self._kept.clear()
        self.failed = False

    def _parts(self) -> Iterator[nn.Module]:
        find_head = getattr(self.model, "get_output_embeddings", None)
        head = None if find_head is None else find_head()  # reads what every step changes
        return (part for part in _largest_frozen(self.model) if part is not head)

    def _await_components(self, stack: ExitStack) -> None:
        """Until the stack is closed, each component is struck off those waited for when its parameters are used."""
        for module in self.model.modules():
            names = {self._owner.get(id(value)) for value in module.parameters(recurse=False)} - {None}
            if names:
                hook = module.register_forward_pre_hook(lambda *_, names=names: self._waiting.difference_update(names))
                stack.callback(hook.remove)
        self._waiting = set(self._owner.values())

    def _begin(self, module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        self._kept.clear()
        self._waiting = set(self._owner.values()) if module.training and products_are_exact() else set()
        self._random = self._random_state()
        cached = module.training and isinstance(getattr(module, "config", None), PreTrainedConfig)
        return given, ({"use_cache": False} if cached else {}) | named

    def _hear(self, part: nn.Module, given: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        if not self._waiting or torch.is_autocast_enabled(next(part.parameters()).device.type):
            return
        if all(map(torch.equal, self._random, self._random_state())):
            self._keep(part, given, named, output)

    def _random_state(self) -> list[Tensor]:
        devices = {value.device for value in self.model.parameters() if value.device.type == "cuda"}
        return [torch.get_rng_state(), *(torch.cuda.get_rng_state(device) for device in sorted(devices, key=str))]

    def _keep(self, part: nn.Module, given: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        made = (
            _Values.of((given, _inputs(named))),
            _Values.of(output),
            _Values.of([*part.parameters(), *part.buffers()]),
        )
        # What lies in a trained parameter's own memory changes with the step.
        storages = {value.untyped_storage().data_ptr() for value in self._trained}
        if all(values.can_be_kept(storages) for values in made):
            self._kept[part] = _Kept(*made)

    def _passing_over(self, part: nn.Module, forward: Callable[..., Any], reading: str) -> Callable[..., Any]:
        place = part, reading

        def once(*given: Any, **named: Any) -> Any:
            kept = self._kept.get(part)
            known = self._holds.get(place)
            if kept is None or known is False or not kept.holds_for(_Values.of((given, _inputs(named)))):
                output = forward(*given, **named)
                if self._waiting:
                    self._keep(part, given, named, output)
                return output
            self._passed_over += 1
            if known is None or self._passed_over % _CHECK_EACH == 0:
                output = forward(*given, **named)
                self._holds[place] = _Values.of(output).equal(kept.output)
                if not self._holds[place]:
                    self.failed = True
                    return output
            return kept.output.whole()

        return once


@dataclass(frozen=True)
class _Values:
    """Tensors and plain values with the form they stand in, and the count of writes into each tensor until now."""

    leaves: tuple[Any, ...]
    form: TreeSpec
    versions: tuple[int, ...]

    @classmethod
    def of(cls, value: object) -> "_Values":
        leaves, form = tree_flatten(value)
        # Not the graph, which a kept value would hold in memory.
        leaves = [leaf.detach() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        return cls(tuple(leaves), form, _versions(leaves))

    def whole(self) -> Any:
        return tree_unflatten(self.leaves, self.form)

    def can_be_kept(self, storages: set[int]) -> bool:
        """False for kinds of values that may be written into unseen, and for tensors that lie in these storages."""
        for leaf in self.leaves:
            if not isinstance(leaf, Tensor):
                if not isinstance(leaf, _PLAIN):
                    return False
            elif leaf.is_inference() or leaf.layout != torch.strided or leaf.untyped_storage().data_ptr() in storages:
                return False
        return True

    def untouched(self) -> bool:
        return self.versions == _versions(self.leaves)

    def equal(self, other: "_Values") -> bool:
        return self.form == other.form and all(map(_equal, self.leaves, other.leaves))


@dataclass(frozen=True)
class _Kept:
    given: _Values
    output: _Values
    own: _Values
    """The part's parameters and buffers."""

    def holds_for(self, given: _Values) -> bool:
        """Whether the part is given the same, and no one wrote into what was kept or into the part."""
        return all(values.untouched() for values in (self.own, self.output, self.given)) and given.equal(self.given)


def _largest_frozen(module: nn.Module) -> Iterator[nn.Module]:
    """The largest parts of a module that have parameters and train none of them."""
    for child in module.children():
        needs = [parameter.requires_grad for parameter in child.parameters()]
        if needs and not any(needs):
            yield child
        else:
            yield from _largest_frozen(child)


def _inputs(named: Mapping[str, object]) -> dict[str, object]:
    """What a part is given by name, without what a loss is made from, which models hand down to their layers."""
    return {name: value for name, value in sorted(named.items()) if name not in NOT_INPUTS}


def _versions(leaves: "list[Any] | tuple[Any, ...]") -> tuple[int, ...]:
    return tuple(leaf._version for leaf in leaves if isinstance(leaf, Tensor) and not leaf.is_inference())


def _equal(one: object, other: object) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and one.device == other.device and torch.equal(one, other)
    return type(one) is type(other) and isinstance(one, _PLAIN) and one == other
