"""Trains bundles on labelled history."""
