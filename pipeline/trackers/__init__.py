"""Trackers: programs of others that keep the curves, figures and files of runs."""
