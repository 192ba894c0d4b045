"""What it costs: scripts, and the last committed figures."""
