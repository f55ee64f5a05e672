"""Every card stands for a method that is really there."""

import importlib
import shlex
from functools import cache
from pathlib import Path

import pytest
from tools.docs_tables import (
    BEGIN,  # left the package
    END,  # left the package
    pages,  # left the package
    with_table,  # left the package
)

from armillary.cards import CARDS, MethodCard
from armillary.cli.main import COMMANDS
from armillary.errors import UsageError
from armillary.records.record import RunRecord

ROOT = Path(__file__).parents[2]
each_card = pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)


def test_names_are_unique() -> None:
    assert len({card.name for card in CARDS}) == len(CARDS) > 0


@each_card
def test_card_has_room_experiment_example_and_page(card: MethodCard) -> None:
    assert card == importlib.import_module(f"armillary.methods.{card.name}").CARD
    experiment = importlib.import_module(f"reproductions.{card.name}.run")
    assert {card.name, *card.experiments} == set(experiment.REPRODUCTIONS)
    assert (ROOT / "examples" / f"{card.name}.py").is_file()
    assert card.claim.endswith(".") and "\n" not in card.claim


@each_card
def test_page_of_the_method_names_the_paper(card: MethodCard) -> None:
    page = (ROOT / "docs" / "methods" / f"{card.name}.md").read_text("utf-8")
    assert card.arxiv in page
    assert "## When it helps" in page or "mislead" in page.lower(), "a page says when the method misleads"


@each_card
def test_commands_are_known(card: MethodCard) -> None:
    for line in card.commands:
        program, command, *_ = shlex.split(line)
        assert program == "armillary"
        assert command in {known.name for known in COMMANDS}


def test_tables_are_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each page looks through all records; to read them is most of the work.
    monkeypatch.setattr(RunRecord, "load", cache(RunRecord.load))
    for path, text in pages(ROOT).items():
        assert path.read_text("utf-8") == text, "run: python -m armillary.cli.docs"


@pytest.mark.parametrize("path", sorted((ROOT / "results").rglob("*.json")), ids=lambda path: path.stem)
def test_a_committed_record_can_be_read(path: Path) -> None:
    """One that can't be would silently be missing from every table."""
    read = RunRecord.load(path)
    assert read.sections and read.started


def test_table_goes_between_the_markers() -> None:
    assert with_table(f"a\n{BEGIN}\nold\n{END}\nb", "new") == f"a\n{BEGIN}\nnew\n{END}\nb"
    with pytest.raises(UsageError, match="marker"):
        with_table("no markers", "new")
