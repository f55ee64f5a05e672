"""Proofs in intuitionistic propositional logic: formulas, prover, checkers, and proofs as texts in any order."""
