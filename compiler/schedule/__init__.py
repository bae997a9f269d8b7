"""The order of instructions over the units, its cycles, and its proofs."""
