"""The report of a run: one HTML file drawn from records, results and the log of events."""
