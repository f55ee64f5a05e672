"""Every card stands for a method that is really there."""

import ast
import importlib
import re
import shlex
from pathlib import Path
from typing import get_args

import pytest
from tools.docs_tables import FIGURE, RESTS_ON, changed_table, markers, pages, where, with_figures, with_part

from armillary.cards import CARDS, MethodCard
from armillary.cli.main import COMMANDS
from armillary.cli.methods import measured
from armillary.errors import UsageError
from armillary.numerics.intervals import Interval
from armillary.records.claims import Verdict
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
def test_what_a_card_says_was_found_is_what_the_records_say(card: MethodCard) -> None:
    """Its words rest on claims, each with one verdict in every committed record; figures stand in the tables only."""
    assert card.finding.endswith(".") and not re.search(r"\d", card.finding) and card.finding != card.claim
    told = {name: verdict for name, verdict in (entry.split() for entry in card.evidence)}
    assert told and set(told.values()) <= set(get_args(Verdict))
    experiments = (card.name, *card.experiments)
    records = [record for name in experiments for record in measured(name, ROOT / "results").values()]
    verdicts: dict[str, set[str]] = {}
    for record in records:
        for claim in record.claims:
            verdicts.setdefault(claim.id, set()).add(claim.verdict)
    assert {name: verdicts.get(name) for name in told} == {name: {verdict} for name, verdict in told.items()}
    # Where not all is as the paper says, the words say so too.
    if set(told.values()) != {"holds"}:
        assert re.search(r"\b(not|undecided|but)\b", card.finding, re.IGNORECASE)


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


def test_tables_are_fresh() -> None:
    for path, text in pages(ROOT).items():
        assert path.read_text("utf-8") == text, "run: python -m tools.docs_tables"


@pytest.mark.parametrize("path", sorted((ROOT / "results").rglob("*.json")), ids=lambda path: path.stem)
def test_a_committed_record_can_be_read(path: Path) -> None:
    """One that can't be would silently be missing from every table."""
    read = RunRecord.load(path)
    assert read.sections and read.started


def test_a_part_goes_between_its_markers() -> None:
    begin, end = markers("parts")
    assert with_part(f"a\n{begin}\nold\n{end}\nb", "parts", "new") == f"a\n{begin}\nnew\n{end}\nb"
    with pytest.raises(UsageError, match="marker"):
        with_part("no markers", "parts", "new")


def test_every_page_is_listed_and_every_link_of_the_index_leads_somewhere() -> None:
    index = (ROOT / "docs" / "index.md").read_text("utf-8")
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", index)
    assert all((ROOT / "docs" / target).exists() for target in targets)
    there = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert there - {"index.md"} <= set(targets)


def messages() -> list[str]:
    """Every text in the package, f-strings with … for what they fill in."""
    texts = []
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                texts.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return texts


def test_every_message_on_the_page_of_errors_is_one_of_ours() -> None:
    """Its first column quotes messages, ``...`` for what differs from run to run and / between two."""
    rows = re.findall(r"^\| (.+?) \| .+ \| .+ \|$", (ROOT / "docs" / "errors.md").read_text("utf-8"), re.MULTILINE)
    quoted = [message for row in rows[1:] for message in row.split(" / ") if "no error" not in message]
    assert len(quoted) > 40
    texts, missing = "\n".join(messages()).lower(), []
    for message in quoted:
        for words in message.split("..."):
            words = words.strip(" ;.`").lower()
            if len(words) > 8 and words not in texts:
                missing.append(words)
    assert missing == []


PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_sentences_rest_on_the_verdicts_that_they_name(path: Path) -> None:
    """A sentence that tells what holds names the claims; each must have that verdict in every record that it names."""
    for match in RESTS_ON.finditer(path.read_text("utf-8")):
        for entry in match["verdicts"].split(","):
            name, verdict = entry.strip().split(maxsplit=1)
            given = {claim.verdict for record in where(match["where"], ROOT / "results") for claim in record.claims
                     if claim.id == name}  # fmt: skip
            assert given == {verdict}, f"{path.name}: {name} is {given}, not {verdict}"


@each_card
def test_figures_in_the_sentences_of_a_page_come_from_records(card: MethodCard) -> None:
    """An estimate with its interval is typed by nobody: it stands between marks that are filled from a record."""
    text = (ROOT / "docs" / "methods" / f"{card.name}.md").read_text("utf-8")
    text = re.sub(r"<!-- ([^:>]+): begin .*?<!-- \1: end -->", "", text, flags=re.DOTALL)  # what is generated
    typed = re.findall(r"[-\d.]+ (?:points? |% )?\[[-+\d., %]+\]", FIGURE.sub("", text))
    assert not typed


def test_a_figure_is_filled_from_its_record(tmp_path: Path) -> None:
    measures = {"kept": Interval(estimate=0.0951, low=0.0612, high=0.128, n=6)}
    record = RunRecord(
        kind="reproduce",
        title="",
        config={"method": "mdgd", "model": "m"},
        models={},
        seed=0,
        measures=measures,
        started="2026-01-01T00:00:00+00:00",
        seconds=0.0,
    )
    record.save(tmp_path / "r.json")
    text = "by <!-- = mdgd: kept % -->?<!-- / --> points, <!-- = mdgd: kept -->?<!-- / -->"
    filled = with_figures(text, tmp_path)
    assert ">9.5 [6.1, 12.8]<" in filled and ">0.095 [0.061, 0.128]<" in filled
    assert with_figures(filled, tmp_path) == filled
    for wrong in ("mdgd: lost", "icn: kept"):
        with pytest.raises(UsageError):
            with_figures(f"<!-- = {wrong} -->?<!-- / -->", tmp_path)


def test_a_verdict_that_did_not_change_is_not_listed(tmp_path: Path) -> None:
    changes = tmp_path / "verdicts.toml"
    entry = '[[change]]\nrecord = "mdgd"\nclaim = "{}"\nwas = "{}"\ncause = "?"\n'
    (record,) = where("mdgd", ROOT / "results")
    claim = record.claims[0]
    changes.write_text(entry.format(claim.id, "something else"))
    assert f"**{claim.outcome}**" in changed_table(changes, ROOT / "results")
    for wrong in ((claim.id, claim.outcome), ("no such claim", "holds")):
        changes.write_text(entry.format(*wrong))
        with pytest.raises(UsageError, match="has not changed"):
            changed_table(changes, ROOT / "results")
