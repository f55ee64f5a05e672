"""What every training shares: which parameters may move, and that all others stay as they were."""
