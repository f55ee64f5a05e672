"""The check-up from Python: examine a model, read its findings, find the report.

    python examples/checkup.py [MODEL]

MODEL is anything that armillary.load opens; tiny-llama needs no download.
"""

import sys
from pathlib import Path

from armillary.checkup import CheckupConfig, run_checkup


def main(model: str = "smollm2-135m-instruct") -> None:
    """Print the findings, most interesting first."""
    out = Path("armillary-runs") / "example-checkup"
    record = run_checkup(CheckupConfig(model=model, subjects=200, texts=16), out)
    for finding in record.findings:
        print(f"{finding.interest:.2f}  {finding.text}")
    print(f"Report: {out / 'report.html'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
