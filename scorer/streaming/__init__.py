"""Receives whole fetches through Faust: group membership, flow control, commits."""
