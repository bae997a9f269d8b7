"""The tests. A package, because pynq installs another of this name."""
