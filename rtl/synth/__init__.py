"""Resources and timing of the RTL on the ZU9EG, estimated with Yosys: ``python -m rtl.synth``."""
