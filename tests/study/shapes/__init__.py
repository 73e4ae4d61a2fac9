"""Harm in the shapes in which it comes, from a generator of its own: the second half of the study."""
