"""Runs everything on one machine: embedded servers and supervised processes."""
