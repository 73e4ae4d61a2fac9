"""Decisions beyond Redis: recounts the tallies from the topic."""
