"""How a model is trained: schedule, early stopping, checkpoints, logging, and evaluation alike for all models."""
