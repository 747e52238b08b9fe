"""From raw files to what the models train on."""
