"""The gate: judges a candidate by the release criteria. Pure: no IO."""
