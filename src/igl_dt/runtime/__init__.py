"""What all parts of a run share: device, threads, determinism, and the run's context."""
