"""The evidence: each paper's claims run at our scale and judged by rules written before the run. Not in the wheel."""
