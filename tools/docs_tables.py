"""Every table and list in README and docs that tells what exists, made from the code and the committed records.

``python -m tools.docs_tables`` rewrites them; a test fails while one is stale.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from tools.benchmark_goals import goal_rows
from tools.diff_docs import calibration_parts, peers_part
from tools.growth_docs import seven_part, slopes_part
from tools.ocean_docs import ocean_parts
from tools.ordering_docs import ordering_parts

from armillary.cards import CARDS
from armillary.cli.dispatch import Command
from armillary.cli.main import COMMANDS, VERBS
from armillary.cli.methods import measured as measured_now, verdict_counts
from armillary.diff.run import INSTRUMENTS
from armillary.errors import UsageError
from armillary.files import read_toml, write_atomic
from armillary.methods.ordering.readers.interface import Reader
from armillary.methods.ordering.readers.registry import READERS
from armillary.models.packaged import PACKAGED
from armillary.numerics.intervals import Interval
from armillary.records.record import RunRecord
from armillary.report.terminal import summary

OUTPUT_LINES = 10
"""Of a diff's output, on the README's first screen: what was lost and what was learned are both among them; more where
the last finding is not at its end."""

Rows = Sequence[Sequence[str]]

# Each page looks through all records; to read them is most of the work.
measured = cache(measured_now)


def markers(name: str) -> tuple[str, str]:
    """The lines around the part of a page that has this name."""
    return f"<!-- {name}: begin (made by python -m tools.docs_tables) -->", f"<!-- {name}: end -->"


def with_part(text: str, name: str, part: str) -> str:
    """``text`` with ``part`` between the markers of that name. Raises UsageError where they are missing."""
    begin, end = markers(name)
    if text.count(begin) != 1 or text.count(end) != 1:
        raise UsageError(f"The page must hold each marker of {name!r} once.")
    head, rest = text.split(begin)
    return f"{head}{begin}\n{part}\n{end}{rest.split(end)[1]}"


def table(columns: Sequence[str], rows: Rows) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(row)} |" for row in (columns, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(columns), *lines[1:]])


def methods_table(results: Path) -> str:
    """A row a method: what was found here and on what it was judged, then what the paper claims."""
    rows = []
    for card in CARDS:
        counts = "; ".join(
            f"{sized(model, record)}{'' if name == card.name else f', `{name}`'}: {verdict_counts(record)}"
            for name in (card.name, *card.experiments)
            for model, record in measured(name, results).items()
        )
        paper = f"{card.claim} ([{card.authors}]({card.link}))"
        rows.append([f"[`{card.name}`](docs/methods/{card.name}.md)", card.finding, counts or "not yet", paper])
    return table(["method", "what holds here", "judged on: claims that", "what the paper claims"], rows)


def sized(name: str, record: RunRecord) -> str:
    """A model's name with its size, "gemma-3-270m (268 M parameters)"; a card's own words say it themselves."""
    facts = record.models.get("model", {})
    if name != facts.get("name"):
        return name
    return f"{name} ({facts['parameters'] / 1e6:.0f} M parameters)"


def changed_table(changes: Path, results: Path) -> str:
    """A row for each verdict that is no longer what an earlier record gave: what it was, what it is, and why.

    Raises UsageError for a claim that no record has, or whose verdict is what it was.
    """
    rows = []
    for change in read_toml(changes).get("change", []):
        for record in where(change["record"], results):
            outcomes = {claim.id: claim.outcome for claim in record.claims}
            now = outcomes.get(change["claim"])
            if now is None or now == change["was"]:
                raise UsageError(f"{change['record']}: {change['claim']!r} is {now!r}; its verdict has not changed.")
            rows.append([change["record"], change["claim"], change["was"], f"**{now}**", change["cause"]])
    return table(["record", "claim", "was", "is", "because"], rows)


def claims_table(method: str, results: Path) -> str:
    """A row for each claim and model: verdict, rule and measures with their intervals."""
    records = measured(method, results)
    if not records:
        return "No record is committed yet."
    rows = []
    claims = {model: {claim.id: claim for claim in record.claims} for model, record in records.items()}
    # By id: a record of before a claim was added or split lacks it.
    for name in dict.fromkeys(name for by_id in claims.values() for name in by_id):
        for model, claim in ((model, by_id[name]) for model, by_id in claims.items() if name in by_id):
            numbers = "<br>".join(
                f"{name}: {shown(value, claim.limits.get(name, ()))}" for name, value in claim.measured.items()
            )
            note = f"<br>{claim.note}" if claim.note else ""
            controls = [f"Control: {control.what}." for control in claim.controls]
            rule = "<br>".join([claim.rule, *([f"Null: {claim.null}"] if claim.null else []), *controls])
            # Every claim names its null by now, so one without is of a record that waits to be run again.
            verdict = f"**{claim.outcome}**" if claim.null else f"{claim.outcome}, by an earlier rule"
            rows.append([claim.statement, claim.paper, model, verdict, numbers + note, rule])
    return table(["claim", "paper", "model", "verdict", "measured", "rule, null, controls"], rows)


def benchmarks_table(results: Path) -> str:
    """A row for each thing that a committed benchmark measured: the peer over us."""
    rows = []
    for path in sorted(results.glob("*.json")):
        if path.stem.endswith("-quick"):  # left there by whoever looked whether a script runs
            continue
        record = json.loads(path.read_text("utf-8"))
        model = record["model"] + _other_hardware(record)
        for row in record.get("rows", ()):  # what has no peer to be held against has a table of its own
            times, script = row["ratio"], f"../benchmarks/{record['benchmark'].split('-')[0]}.py"
            spread = f"{times['low']:.2f} to {times['high']:.2f}, {times['repeats']} repeats"
            rows.append(
                [f"[`{record['benchmark']}`]({script})", model, row["what"], f"{row['peer']:.3g}",
                 f"{row['ours']:.3g}", f"**{times['median']:.2f}x**", spread]
            )  # fmt: skip
    return table(["benchmark", "model", "what", "peer", "ours", "peer / ours", "range"], rows)


def _other_hardware(record: Mapping[str, Any]) -> str:
    """ ", bfloat16 on NVIDIA H200" where a benchmark's models ran elsewhere than on the processor in float32."""
    device, dtype = (record["settings"].get(name, usual) for name, usual in (("device", "cpu"), ("dtype", "float32")))
    if (device, dtype) == ("cpu", "float32"):
        return ""
    return f", {dtype} on {'the processor' if device == 'cpu' else record['machine'].get('card', device)}"


def instruments_table() -> str:
    """A row for each thing that a diff looks at, in the order of its page: what its module says of itself first, or
    its result where two have one module."""
    modules = Counter(instrument.measure.__module__ for instrument in INSTRUMENTS)
    rows = []
    for instrument in INSTRUMENTS:
        module = sys.modules[instrument.measure.__module__]
        source = module if modules[module.__name__] == 1 else instrument.result
        words = " ".join((source.__doc__ or "").split("\n\n")[0].split()).rstrip(".").removeprefix("Instrument: ")
        rows.append([f"`{instrument.name}`", words[0].lower() + words[1:]])
    return table(["section", "what it looks at"], rows)


def diff_output(results: Path, root: Path) -> str:
    """The first lines that the committed diff printed, and the picture of its page; nothing before there is one."""
    paths = sorted(results.glob("diff-*.json"))
    if not paths:
        return ""
    record = RunRecord.load(paths[-1])
    given = [record.config["base"], record.config["after"], *record.config["texts"]]
    command = " ".join(["armillary diff", *(name for name in given[:2] if name)])
    command += f" \\\n    --prompts {record.config['prompts']}" if record.config["prompts"] else ""
    command += f" \\\n    --texts {' '.join(given[2:])}" if given[2:] else ""
    ranked = sorted(record.findings, key=lambda finding: -finding.interest)
    # Whole sentences with what they rest on, of as few findings as fill the lines.
    blocks = [summary(replace(record, findings=ranked[:count]), width=100) for count in range(1, len(ranked) + 1)]
    lines = "\n".join([*next((block for block in blocks if len(block) >= OUTPUT_LINES), blocks[-1]), "..."])
    picture = root / "docs" / "images" / "diff.png"
    shown = [f"![The top of that page](docs/images/{picture.name})"] if picture.exists() else []
    return "\n\n".join([f"```text\n$ {command}\n{lines}\n```", *shown])


def commands_table() -> str:
    """A row for each verb, beside the method's own words for it, and for each other command and its actions."""
    methods = {verb.words.split()[0] for verb in VERBS}
    others = [command for command in COMMANDS if command.name not in methods]
    rows = []
    for command in others[:2]:
        rows.append([f"`armillary {command.name}`", command.summary])
    rows += [[f"`armillary {verb.name}`, or `armillary {verb.words}`", verb.summary] for verb in VERBS]
    for command in others[2:]:
        rows.append([f"`armillary {command.name}`", command.summary])
        actions: Sequence[Command] = getattr(command.load(), "ACTIONS", ())
        rows += [[f"`armillary {command.name} {action.name}`", action.summary] for action in actions]
    return table(["command", "what it does"], rows)


def models_table() -> str:
    """A row for each model whose weights a package of the Python registry carries."""
    rows = [
        [f"`{model.name}`", model.title, f"{model.parameters / 1e6:.0f} M", f"{model.download_mb} MB", model.licence]
        for model in PACKAGED
    ]
    return table(["model", "what it is", "parameters", "download", "licence"], rows)


def formats_table() -> str:
    """A row a format of step data: its steps and dependencies, where it stands, whether it is written anew."""
    rows = []
    for known in READERS:
        files = ", ".join(f"`{ending}`" for ending in known.endings)
        written = type(known).rewritten is not Reader.rewritten
        rows.append([f"`{known.name}`", known.about.replace("<", "&lt;"), files or "rows", "yes" if written else "no"])
    return table(["format", "steps and dependencies", "files", "written by `--to`"], rows)


def pages_list(docs: Path) -> str:
    """A line for each page: those of the methods with their titles, then the others with their headings."""
    titles = {f"methods/{card.name}.md": card.title for card in CARDS}
    for path in sorted(docs.glob("*.md")):
        if path.name != "index.md":
            titles[path.name] = path.read_text("utf-8").splitlines()[0].removeprefix("# ")
    return "\n".join(f"- [{name}]({name}): {title[0].lower()}{title[1:]}." for name, title in titles.items())


def shown(value: Interval, limits: Sequence[float] = ()) -> str:
    """ "0.812 [0.790, 0.833]"; with as many digits as show on which side of each limit its ends lie."""
    numbers = [value.estimate]
    if value.low is not None and value.high is not None and value.low != value.high:
        numbers += [value.low, value.high]
    decimals = 3
    while decimals < 12 and any(
        (round(number, decimals) > limit) - (round(number, decimals) < limit) != (number > limit) - (number < limit)
        for number in numbers
        for limit in limits
    ):
        decimals += 1
    estimate, *ends = (f"{number:.{decimals}f}" for number in numbers)
    return f"{estimate} [{', '.join(ends)}]" if ends else estimate


FIGURE = re.compile(r"<!-- = (?P<where>[^:>]+): (?P<name>[^>]+?)(?P<points> %)? -->.*?<!-- / -->", re.DOTALL)
"""A figure in a sentence: experiment, or experiment@model, the measure's name, and `%` where it is shown in points."""

RESTS_ON = re.compile(r"<!-- rests on (?P<where>[^:>]+): (?P<verdicts>[^>]+?) -->")
"""Behind a sentence: the verdicts without which it would be wrong, as "retains undecided, cost holds"."""


def where(text: str, results: Path) -> list[RunRecord]:
    """The records that "mdgd" or "bricks@gemma-3-270m" names. Raises UsageError where there is none."""
    experiment, _, model = text.strip().partition("@")
    records = measured(experiment, results)
    named = [record for name, record in records.items() if not model or model == name]
    if not named:
        raise UsageError(f"There is no committed record of {text!r}.")
    return named


def with_figures(text: str, results: Path) -> str:
    """``text`` with every figure in its sentences as the committed records have it."""

    def filled(match: re.Match[str]) -> str:
        records = where(match["where"], results)
        if len(records) > 1 or match["name"] not in records[0].measures:
            raise UsageError(f"The figure {match[0]!r} must name one record and one of its measures.")
        value = records[0].measures[match["name"]]
        words = in_points(value) if match["points"] else shown(value)
        return f"<!-- = {match['where']}: {match['name']}{match['points'] or ''} -->{words}<!-- / -->"

    return FIGURE.sub(filled, text)


def in_points(value: Interval) -> str:
    """ "9.5 [6.1, 12.8]" of a share or a difference of shares."""
    numbers = [value.estimate] + ([] if value.low is None or value.high is None else [value.low, value.high])
    estimate, *ends = (f"{100 * number:.1f}" for number in numbers)
    return f"{estimate} [{', '.join(ends)}]" if ends else estimate


def pages(root: Path) -> dict[Path, str]:
    """Every page with a generated part, by path, as it should read."""
    docs, results = root / "docs", root / "results"
    parts: dict[Path, dict[str, str]] = {
        root / "README.md": {"methods": methods_table(results), "diff": diff_output(results, root)},
        docs / "diff.md": {
            "instruments": instruments_table(),
            "claims of diff_calibration": claims_table("diff_calibration", results),
            **calibration_parts(results),
            "peers": peers_part(root / "benchmarks" / "results"),
            "growth": slopes_part(root / "benchmarks" / "results"),
            "seven billion": seven_part(root),
        },
        docs / "index.md": {"pages": pages_list(docs), "commands": commands_table(), "models": models_table()},
        docs / "benchmarks.md": {
            "goals": table(["benchmark", "what", "goal", "measured", ""], goal_rows(root / "benchmarks")),
            "ratios": benchmarks_table(root / "benchmarks" / "results"),
        },
    }
    parts[docs / "verdicts.md"] = {"changes": changed_table(docs / "verdicts.toml", results)}
    parts[docs / "methods" / "ordering.md"] = {"formats": formats_table(), **ordering_parts(results)}
    parts[docs / "methods" / "ocean.md"] = ocean_parts(root)
    for card in CARDS:
        further = {f"claims of {name}": claims_table(name, results) for name in card.experiments}
        page = parts.setdefault(docs / "methods" / f"{card.name}.md", {})
        page |= {"claims": claims_table(card.name, results), **further}
    texts = {}
    for path, named in parts.items():
        text = path.read_text("utf-8")
        for name, part in named.items():
            text = with_part(text, name, part)
        texts[path] = with_figures(text, results)
    return texts


def main(root: Path) -> int:
    """Rewrite the generated parts of the checkout ``root``."""
    for path, text in pages(root).items():
        write_atomic(path, text)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path.cwd()))
