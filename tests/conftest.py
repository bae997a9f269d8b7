"""Settings shared by all tests."""

import os
import signal

import hypothesis

# Set before torch and matplotlib are imported. Each pytest-xdist worker keeps to one thread, so
# that the workers do not fight for the cores; figures are drawn without a display.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

# A shell starts what it runs in the background with Ctrl-C ignored, and so would be what the tests
# start and then interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A slow machine is no failure: examples have no deadline. They are drawn afresh in every run, also
# in CI, where Hypothesis would take the same ones; a failure prints the decorator that repeats it.
hypothesis.settings.register_profile(
    "cmamba",
    parent=hypothesis.settings.get_profile("default"),
    deadline=None,
    derandomize=False,
    print_blob=True,
)
hypothesis.settings.load_profile("cmamba")
