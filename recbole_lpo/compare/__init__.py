"""Runs side by side: what is run, how it is repeated over seeds, tested and shown."""
