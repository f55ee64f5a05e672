"""UltraGen (arXiv 2502.12375): its claims on a toy world with exact oracles, and on real weights and texts."""
