"""An orchestrator of cached stages that never redoes work."""

__version__ = "0.4.0"
