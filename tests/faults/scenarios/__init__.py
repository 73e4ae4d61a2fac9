"""Every scenario, in the order in which they are played."""

from faults.scenarios import brokers, candidates, processes, promotions, stores, streams, surroundings

__all__ = ["brokers", "candidates", "processes", "promotions", "stores", "streams", "surroundings"]
