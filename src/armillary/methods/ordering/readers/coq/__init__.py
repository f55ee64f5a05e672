"""Coq's files and proofs as samples."""
