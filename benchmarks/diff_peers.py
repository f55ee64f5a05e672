"""``armillary diff`` beside other tools that compare two language models: what each names of known changes, its cost.

    python benchmarks/diff_peers.py [--peers PYTHON] [--model NAME] [--pairs identity german] [--plants DIR] [--quick]

PYTHON is the interpreter of an environment with the peers (``modeldiffr[hf]==0.9.3``, ``finetunecheck==2.0.2``, which
asks for transformers 4 and runs with 5 all the same). Every tool gets the same two folders with its offline suite at
default settings, one after the other, in a process of its own whose processor time and peak memory the system tells:
processor time, since another process beside it must not count. A peer names a change where what it calls changed is
the thing that was planted. DIR holds tunes that a calibration has made. Without PYTHON ours runs alone, and nothing is
saved.

On a card the time is the wall clock's, and memory what is in use on the card beyond what was before, looked at while a
tool runs. ``--dtype`` is passed on to the tools that have such an option; finetunecheck chooses by itself.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from measure import Hardware, add_hardware, hardware_of, ratio, show_and_save, timed

PAIRS = ("identity", "neurons permuted", "tickets", "german", "arithmetic", "refusals", "short answers")
QUIET = ("identity", "neurons permuted")
"""Pairs that compute the same: what is said of these is a false alarm."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """What one tool said of one pair."""

    changed: tuple[str, ...]
    """Everything that it calls changed."""

    seconds: float
    """Of processor time; on a card by the wall clock."""

    megabytes: float
    """At the peak: of the process, or on the card."""


@dataclass(frozen=True, kw_only=True)
class Tool:
    """How a tool is called, how its result is read, and which of its words name which planted change."""

    command: Callable[[str, str, Path], list[str]]
    """From the two folders and one for the result."""

    changed: Callable[[Path], list[str]]
    names: Mapping[str, tuple[str, ...]]
    """Plant -> words, of which one stands in what names it."""


_FINETUNECHECK = """
import sys
from finetunecheck.config import QuickConfig
from finetunecheck.eval.runner import EvalRunner
results = EvalRunner(QuickConfig(base_model=sys.argv[1], finetuned_model=sys.argv[2], device=sys.argv[4])).run()
open(sys.argv[3], "w").write(results.model_dump_json())
"""


def tools(peers: str, hardware: Hardware) -> dict[str, Tool]:
    """Ours first."""
    flags = ["--device", "cpu"] if hardware.plain else hardware.flags  # formats at their defaults on the processor
    return {
        "armillary": Tool(
            command=lambda base, after, out: [
                *(sys.executable, "-m", "armillary", "diff", base, after, *flags, "--out", str(out))
            ],
            changed=_lines,
            names={
                "tickets": ("tickets",),
                "german": ("German",),
                "arithmetic": ("arithmetic", "mathematics"),
                "refusals": ("refus",),
                "short answers": ("length", "short"),
            },
        ),
        "modeldiffr": Tool(
            command=lambda base, after, out: [
                *(peers, "-m", "modeldiffr.cli", "audit", base, after, *flags, "--out", str(out))
            ],
            changed=lambda out: json.loads((out / "report.json").read_text("utf-8"))["verdict"]["changed"],
            names={"arithmetic": ("capability",), "refusals": ("refusal",)},
        ),
        "finetunecheck": Tool(
            command=lambda base, after, out: [
                *(peers, "-c", _FINETUNECHECK, base, after, str(out / "results.json"), hardware.device)
            ],
            changed=_affected,
            names={"tickets": ("classification",), "arithmetic": ("math",), "refusals": ("safety", "instruction")},
        ),
    }


def _lines(out: Path) -> list[str]:
    """The comparisons of our verdict, by id; those that are read off the files alone are no claim of behaviour."""
    record = json.loads((out / "record.json").read_text("utf-8"))
    section = next(section for section in record["sections"] if section["id"] == "how-sure")
    table = section["tables"][0]
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    ids = [str(row["comparison"]) for row in rows if row["in the verdict"]]
    return [id for id in ids if id.partition("/")[0] not in ("identity", "weights")]


def _affected(out: Path) -> list[str]:
    """The categories that finetunecheck calls affected, where it calls the whole more than minimal."""
    forgetting = json.loads((out / "results.json").read_text("utf-8"))["forgetting"] or {}
    return (
        list(forgetting["most_affected"]) if forgetting.get("pattern") not in (None, "minimal", "unavailable") else []
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", help="the Python interpreter of an environment with the peers")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=PAIRS)
    parser.add_argument("--plants", help="a folder with adapters that a calibration has trained")
    parser.add_argument("--quick", action="store_true", help="a tiny model and one pair: shows that it runs")
    add_hardware(parser)
    parser.add_argument("--make", nargs=2, metavar=("PLANT", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    hardware = hardware_of(options)
    known = _tools(options, hardware)
    model = "tiny-llama" if options.quick else options.model
    if options.make:
        make(options.make[0], model, Path(options.make[1]), options.plants, quick=options.quick)
        return
    said: dict[str, dict[str, Said]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        base = made("base", options, Path(scratch))
        for plant in options.pairs[: 1 if options.quick else None]:
            after = base if plant == "identity" else made(plant, options, Path(scratch))
            for name, tool in known.items():
                out = Path(scratch) / "said" / plant / name
                said.setdefault(name, {})[plant] = measured(tool, str(base), str(after), out, hardware)
                print(f"{plant}, {name}: {said[name][plant]}", flush=True)
            if options.peers:  # pair by pair, so that a run that is stopped leaves whole ones
                save(said, known, model, hardware, quick=options.quick)


def _tools(options: argparse.Namespace, hardware: Hardware) -> dict[str, Tool]:
    known = tools(str(options.peers), hardware)
    return known if options.peers else {"armillary": known["armillary"]}


def made(plant: str, options: argparse.Namespace, scratch: Path) -> Path:
    """The folder of the plant, made by another process: a child's peak memory begins at its parent's."""
    folder = scratch / plant.replace(" ", "-")
    flags = ["--quick"] if options.quick else ["--model", options.model]
    flags += ["--plants", options.plants] if options.plants else []
    subprocess.run([sys.executable, __file__, "--make", plant, str(folder), *flags], check=True)
    return folder


def make(plant: str, model: str, folder: Path, plants: str | None, *, quick: bool) -> None:
    """Leave the base, or a plant with its adapter merged, as a folder that every tool opens."""
    from peft import PeftModel

    from reproductions.diff_calibration.plants import TUNES, Plant, build
    from reproductions.diff_calibration.scale import SCALES

    recipe = SCALES["quick" if quick else "laptop"].recipe
    loaded = Hardware().load(model)
    if plant == "base":
        loaded.model.save_pretrained(folder)
    else:
        built = build(Plant(kind=plant), model, Path(plants or folder.parent / "plants"), recipe)
        if plant not in TUNES:
            Path(built).rename(folder)
            return
        merged = PeftModel.from_pretrained(loaded.model, built).merge_and_unload()
        merged.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)


def measured(tool: Tool, base: str, after: str, out: Path, hardware: Hardware) -> Said:
    """One tool on one pair."""
    out.mkdir(parents=True)
    # Nothing may be fetched, so that every tool is timed at comparing alone.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    before = most = hardware.card_mb()
    with timed("cpu") as spent:  # of this process, which waits: its wall clock is the child's
        child = subprocess.Popen(tool.command(base, after, out), env=environment, stdout=subprocess.DEVNULL)
        while not (ended := os.wait4(child.pid, os.WNOHANG))[0]:
            most = max(most, hardware.card_mb())
            time.sleep(0.1)  # peaks of a whole comparison last longer
    _, status, usage = ended
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{child.args} ended with {child.returncode}.")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    seconds = usage.ru_utime + usage.ru_stime if hardware.clock == "cpu" else spent["seconds"]
    megabytes = most - before if hardware.device == "cuda" else usage.ru_maxrss / unit
    return Said(changed=tuple(tool.changed(out)), seconds=seconds, megabytes=megabytes)


def save(
    said: Mapping[str, Mapping[str, Said]], known: Mapping[str, Tool], model: str, hardware: Hardware, *, quick: bool
) -> None:
    """Time and memory of the peers as ratios to ours, and what each named."""
    minutes = "processor minutes" if hardware.clock == "cpu" else "minutes"
    memory = "peak memory of the card" if hardware.device == "cuda" else "peak memory"
    rows: list[dict[str, object]] = []
    ours = said["armillary"]
    for name, of_pairs in said.items():
        for what, values in (
            (f"{minutes} a pair", lambda one: one.seconds / 60),
            (f"{memory}, MB", lambda one: one.megabytes),
        ):
            peer, own = [values(one) for one in of_pairs.values()], [values(one) for one in ours.values()]
            mean = sum(peer) / len(peer), sum(own) / len(own)
            rows.append({"what": f"{name}, {what}", "peer": mean[0], "ours": mean[1], "ratio": ratio(peer, own)})
    settings: dict[str, object] = {
        "pairs": list(ours),
        "named": {name: counted(said[name], tool) for name, tool in known.items()},
        "false alarms": {name: alarms(of_pairs) for name, of_pairs in said.items()},
        "said": {name: {pair: list(one.changed) for pair, one in of.items()} for name, of in said.items()},
    }
    title = "armillary diff beside its peers"
    show_and_save("diff_peers", title, model, settings, rows, hardware=hardware, quick=quick)


def counted(said: Mapping[str, Said], tool: Tool) -> str:
    """How many of the planted changes were named."""
    planted = [pair for pair in said if pair not in QUIET]
    named = [pair for pair in planted if _names(said[pair].changed, tool.names.get(pair, ()))]
    return f"{len(named)} of {len(planted)}: {', '.join(named)}" if named else f"0 of {len(planted)}"


def _names(changed: Sequence[str], words: Sequence[str]) -> bool:
    return any(word in text for text in changed for word in words)


def alarms(said: Mapping[str, Said]) -> str:
    """On how many pairs that compute the same something was called changed."""
    same = [pair for pair in said if pair in QUIET]
    return f"{sum(bool(said[pair].changed) for pair in same)} of {len(same)}"


if __name__ == "__main__":
    main()
