"""Data that only this reproduction reads, each fetched at first use and verified, and synthetic ones for tests."""
