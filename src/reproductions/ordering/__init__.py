"""Ordering (arXiv 2411.00863): its claims on two worlds with exact judges, proofs and multiplication."""
