"""The shadow: scores the same snapshots with candidates, compares, judges and proposes."""
