"""What Kedro is extended by: datasets, hooks, provenance."""
