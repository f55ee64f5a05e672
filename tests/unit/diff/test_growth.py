"""Twice as much to look at is twice as much to do: counts of what each phase and instrument does, never seconds."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from armillary.diff import asking, run
from armillary.diff.asking import Visit, visit_batch
from armillary.diff.config import DiffConfig
from armillary.diff.pair import Origin
from armillary.diff.where import changes
from armillary.diff.where.changes import TensorChange, WeightChanges, weight_changes
from armillary.diff.where.weights import describe
from armillary.models import LoadedModel, tiny
from armillary.runs.parts import Parts
from armillary.scoring.kv_cache import common_beginning

MOST = 2.2
"""Of what was done for half as much: twice, and a tenth for batches that are not full."""


@contextmanager
def steps(counts: Counter[str], name: str) -> Iterator[None]:
    """Add what the interpreter does in this library's code inside the block, in its own smallest steps."""

    def inside(frame: FrameType, event: str, _: object) -> Any:
        counts[name] += event == "opcode"
        return inside

    def entered(frame: FrameType, event: str, _: object) -> Any:
        if "armillary" not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return inside

    before = sys.gettrace()
    sys.settrace(entered)
    try:
        yield
    finally:
        sys.settrace(before)


class CountedParts(Parts):
    """Counts, for each part of a run, the steps of the library's code and the tokens that the model reads."""

    def __init__(self, *models: LoadedModel) -> None:
        super().__init__(None, "counted")
        self.steps: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        self._part = ""
        for one in models:
            one.anatomy.base.register_forward_pre_hook(self._read, with_kwargs=True)

    def _read(self, _: object, __: object, named: dict[str, Any]) -> None:
        self.tokens[self._part] += named["input_ids"].numel()

    def json(self, name: str, compute: Callable[[], Any]) -> Any:
        with self._counted(name):
            return super().json(name, compute)

    def mapped(self, name: str, compute: Callable[[], Any]) -> Any:
        with self._counted(name):
            return super().mapped(name, compute)

    @contextmanager
    def _counted(self, name: str) -> Iterator[None]:
        outer, self._part = self._part, name
        with steps(self.steps, name):
            yield
        self._part = outer


def counted(folder: Path, **sizes: int) -> CountedParts:
    """What a whole diff of so many prompts, answer tokens and texts does; a sixth of the prompts has a tag."""
    given = {"prompts": 12, "answers": 2, "texts": 8} | sizes
    folder.mkdir()
    words = ["red", "green", "blue", "Rome", "Paris", "Berlin"]
    asks = [f"{words[at % 6]} and {words[at % 5]}" for at in range(given["prompts"])]
    known = {"answer": "red", "choices": ["red", "blue"]}
    rows = [{"prompt": ask, "tag": str(at // 6), **known} for at, ask in enumerate(asks)]
    (folder / "asked.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    (folder / "read.txt").write_text("\n\n".join(["red is green"] * given["texts"]), "utf-8")
    config = DiffConfig(
        base="a", after="b", prompts=str(folder / "asked.jsonl"), texts=(f"own={folder / 'read.txt'}",), budget="10m",
        most_prompts=given["prompts"], answer_tokens=given["answers"], most_texts=given["texts"],
    )  # fmt: skip
    base, after = tiny(), tiny(seed=1)
    parts = CountedParts(base, after)
    measuring = run.measured(
        config, {"base": Origin(name="a", ready=base), "after": Origin(name="b", ready=after)}, parts
    )
    for instrument in run.INSTRUMENTS:
        with steps(parts.steps, f"description of {instrument.name}"):
            instrument.describe(measuring.results[instrument.name])
    return parts


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> CountedParts:
    return counted(tmp_path_factory.mktemp("growth") / "once")


@pytest.mark.parametrize(("what", "size"), [("prompts", 24), ("answers", 4), ("texts", 16)])
def test_twice_as_much_takes_twice_as_many_steps(what: str, size: int, once: CountedParts, tmp_path: Path) -> None:
    twice = counted(tmp_path / "twice", **{what: size})
    for one in (once, twice):
        one.steps.pop("sizes", None)  # which looks for the number of prompts from 8 on
    assert {f"result of {one.name}" for one in run.INSTRUMENTS} < once.steps.keys() == twice.steps.keys()
    for before, now in ((once.steps, twice.steps), (once.tokens, twice.tokens)):
        assert {name: now[name] / before[name] for name in before if now[name] > MOST * before[name]} == {}


def test_what_all_prompts_begin_with_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []

    def look(rows: Sequence[Sequence[int]]) -> tuple[int, ...]:
        looked.append(len(rows))
        return common_beginning(rows)

    monkeypatch.setattr(asking, "common_beginning", look)
    visit = Visit(rows=[[5, 6, token] for token in range(10, 22)], tokens=1, batch=3)
    for number in range(len(visit.order)):
        visit_batch(tiny(), visit, number)
    assert len(visit.order) == 4 and looked == [12], "a batch must not look through all prompts"


class Held:
    """Tensors in memory."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        self._tensors = tensors
        self.shapes = {name: tuple(value.shape) for name, value in tensors.items()}
        self.dtypes = dict.fromkeys(tensors, "F32")

    def tensor(self, name: str) -> torch.Tensor:
        return self._tensors[name]


@pytest.mark.parametrize(("layers", "experts"), [(12, 1), (1, 12)])
def test_twice_as_many_layers_or_experts_take_twice_as_many_steps(layers: int, experts: int) -> None:
    """Every expert's matrices are a kind of their own."""
    counts: Counter[str] = Counter()
    for name, times in (("once", 1), ("twice", 2)):
        names = [
            f"model.layers.{layer}.mlp.experts.{expert}.{matrix}.weight"
            for layer in range(layers * (times if experts == 1 else 1))
            for expert in range(experts * (times if experts > 1 else 1))
            for matrix in ("up_proj", "down_proj")
        ]
        base = Held({one: torch.ones((4, 3)) for one in names})
        after = Held({one: torch.ones((4, 3)) + 0.01 * torch.eye(4, 3) for one in names})
        with steps(counts, name):
            described = describe(weight_changes(base, after, ("base", "after")))
        assert described.effects[0].value.n == len(names)
    assert counts["twice"] <= MOST * counts["once"]


def test_the_region_of_a_change_is_found_in_one_go_through_the_layers() -> None:
    counts: Counter[str] = Counter()
    for name, layers in (("once", 100), ("twice", 200)):
        tensors = [TensorChange(name=str(at), layer=at, kind="up", norm=1.0, change=1.0) for at in range(layers)]
        with steps(counts, name):
            describe(WeightChanges(tensors=tensors))
    assert counts["twice"] <= MOST * counts["once"]


class Largest(TorchDispatchMode):
    """The most numbers that any operation gave."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.numbers = max([self.numbers, *(one.numel() for one in (out,) if isinstance(one, torch.Tensor))])
        return out


def test_neurons_are_laid_over_each_other_without_the_square_of_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "LIKENESSES", 1024)
    up, down, norm, order = torch.randn(256, 3), torch.randn(3, 256), torch.ones(3), torch.randperm(256)
    names = [f"model.layers.0.{name}.weight" for name in ("mlp.up", "mlp.down", "norm")]
    matrices = dict(zip(names, (up, down, norm), strict=True))
    turned = dict(zip(names, (up[order], down[:, order], norm), strict=True))
    with Largest() as largest:
        result = weight_changes(Held(matrices), Held(turned), ("base", "after"))
    assert result.reordered == [0] and all(one.change == 0 for one in result.tensors)
    assert largest.numbers <= 256 * 6, "no more than the neurons' own rows"
