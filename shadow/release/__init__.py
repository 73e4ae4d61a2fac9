"""Judges what a slot holds, and carries out what people decide about it."""
