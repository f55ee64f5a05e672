"""What a run was made with: library versions and the class of machine. Nothing that tells whose machine it was."""

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from armillary.runs.threads import thread_facts

PACKAGES = (
    "armillary", "torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy", "scikit-learn",
    "matplotlib", "altair",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Versions of the libraries that a number can depend on; those not installed are left out. Imports none."""
    installed = {name: known for name in PACKAGES if (known := _version(name))}
    return {"armillary": "unknown", **installed}


def machine() -> dict[str, str | int | float]:
    """Cores this process may use and how its threads were set, memory in GiB, processor class, system, Python: no host
    name, user or path."""
    facts: dict[str, str | int | float | None] = {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "processor": _processor(),
        "architecture": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        **thread_facts(),
    }
    return {name: fact for name, fact in facts.items() if fact is not None}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _memory_gib() -> int | None:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)
    except (AttributeError, ValueError, OSError):
        return None


def _processor() -> str | None:
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return None
    line = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    if line is None:
        return None
    name = re.sub(r"\((?:R|TM)\)|\bCPU\b|\bProcessor\b|@.*$", " ", line[1], flags=re.IGNORECASE)
    return " ".join(name.split()) or None
