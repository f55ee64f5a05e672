"""Audits of step data: what stands before its support, how far, and how it would read in another order."""
