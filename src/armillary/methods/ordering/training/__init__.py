"""Models trained on the same samples in different orders, and what they then solve."""
