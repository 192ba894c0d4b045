"""What DVC is told: dvc.yaml from the Kedro graph, and the comparison with what is committed."""
