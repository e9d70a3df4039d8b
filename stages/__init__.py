"""The built-in stages: data generation, training, evaluation."""
