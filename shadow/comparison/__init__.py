"""Compares a candidate's decisions with live's and sums the results. Pure: no IO."""
