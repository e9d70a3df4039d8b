"""The live page: a process of its own that shows runs and records in a browser, and writes nothing."""
