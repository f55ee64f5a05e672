"""What the README tells a newcomer to type really works."""

import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tools.docs_tables import OUTPUT_LINES, diff_output

from armillary.cli.main import main
from armillary.records.record import RunRecord
from armillary.records.sections import Finding
from armillary.runs.run import Job
from processes import run_script

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
SHELL = [
    line.split("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.S)
    for line in block.splitlines()
    if line.split("#")[0].strip()
]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.S)


def test_readme_begins_with_the_two_commands() -> None:
    assert SHELL[:2] == ["make demo", "make test"]


@pytest.mark.parametrize("line", [line for line in SHELL if line.startswith("make ")])
def test_make_targets_exist(line: str) -> None:
    targets = [word for word in shlex.split(line)[1:] if "=" not in word]
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert targets and all(re.search(rf"^{target}:", makefile, re.M) for target in targets)


@pytest.mark.parametrize("line", [line for line in SHELL if re.match(r"(\.venv/bin/)?armillary ", line)])
def test_commands_run_dry(line: str, checked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    words = shlex.split(line)[1:]
    if words[0] not in ("list", "models", "replay", "report", "show"):
        words += ["--dry-run", "--out", str(tmp_path / "run")]
    elif words[0] in ("report", "replay"):
        shutil.copytree(checked, words[1])
    # What takes longest is run, and replayed, in test_runs.py; here it matters that the line is understood.
    run = Job.run

    def shortened(job: Job[Any], settings: Any, out: Path | str, *, fresh: bool = False) -> RunRecord:
        slow = settings.command in ("checkup", "diff", "reproduce")
        return RunRecord.load(checked) if slow else run(job, settings, out, fresh=fresh)

    monkeypatch.setattr(Job, "run", shortened)
    assert main(words) == 0


def test_there_is_a_python_example_of_ten_lines() -> None:
    lines = [line for line in PYTHON[0].splitlines() if line.strip()]
    assert len(lines) <= 10


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python_blocks_run(number: int, tmp_path: Path) -> None:
    # A tiny model in place of the real one, and installed texts: the path is the same, and nothing is fetched.
    code = re.sub(r'"(smollm2-135m-instruct|gemma-3-270m)"', '"tiny-llama"', PYTHON[number])
    code = code.replace("most_prompts=40", "most_prompts=4, most_texts=4, answer_tokens=4")
    script = tmp_path / "block.py"
    script.write_text(code, "utf-8")
    exit_code, _, error = run_script(script, [], tmp_path)
    assert exit_code == 0, error


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_output_on_the_first_screen_is_that_of_the_record(tmp_path: Path, checked: Path) -> None:
    assert diff_output(tmp_path, tmp_path) == ""
    lines = [Finding(text="word " * 40, interest=1 - index / 9, section="", label="forgot") for index in range(4)]
    config = {"base": "adapter", "after": None, "prompts": "p.jsonl", "texts": ["German=de.txt"]}
    replace(RunRecord.load(checked), findings=lines, config=config).save(tmp_path / "diff-demo.json")
    shown = diff_output(tmp_path, tmp_path).splitlines()
    assert shown[1:4] == ["$ armillary diff adapter \\", "    --prompts p.jsonl \\", "    --texts German=de.txt"]
    assert len(shown) >= 6 + OUTPUT_LINES and shown[4].startswith("forgot  word word") and "png" not in str(shown)
    assert shown[-3].endswith("word") and shown[-2:] == ["...", "```"]
    (tmp_path / "docs" / "images").mkdir(parents=True)
    (tmp_path / "docs" / "images" / "diff.png").touch()
    assert diff_output(tmp_path, tmp_path).endswith("(docs/images/diff.png)")
