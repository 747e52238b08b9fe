"""Searches for the settings of one model on one dataset, by the validation items alone."""
