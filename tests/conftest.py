"""Settings shared by all tests."""

import os

import hypothesis

# Set before torch and matplotlib are imported. Each pytest-xdist worker keeps to one thread, so
# that the workers do not fight for the cores; figures are drawn without a display.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

# A slow machine is no failure, so examples have no deadline. In CI the examples are the same in
# every run; elsewhere they are drawn afresh.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")
