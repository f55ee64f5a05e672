"""Whether the prover and the checker of the logic world are right: Coq asked about both."""
