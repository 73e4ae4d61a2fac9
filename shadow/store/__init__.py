"""Keeps exact tallies, samples and labels in Redis."""
