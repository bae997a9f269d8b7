"""From a quantized model to a package: lowering, scheduling, and the proofs of both."""
