"""Studies: many runs of one definition, compared."""
