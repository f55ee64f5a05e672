"""Multiplication by digits: partial products and running sums, written in any order."""
