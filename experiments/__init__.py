"""Trains, quantizes and evaluates whole tables of forecasters: `python -m experiments --help`."""
