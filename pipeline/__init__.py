"""An orchestrator of cached stages that never redoes work."""
