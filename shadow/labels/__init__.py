"""Labels of transactions, and the order in which cases are reviewed. Pure: no IO."""
