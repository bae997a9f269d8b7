"""Fit a forecaster to a series, forecast with it, and export it for the board, from Python.

docs/python_api.md has an example.
"""

from cmamba.api import Model, fit, load

__all__ = ["Model", "fit", "load"]
