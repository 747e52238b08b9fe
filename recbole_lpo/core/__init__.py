"""The method on tensors alone: no RecBole, no files, no settings object."""
