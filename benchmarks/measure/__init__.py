"""How each kind of case is measured. Every module has `measure(side, settings, folders)`, which returns the figures."""
