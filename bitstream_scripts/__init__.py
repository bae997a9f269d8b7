"""From the RTL to a bitstream for the ZCU102, and the description of the design that PYNQ reads."""
