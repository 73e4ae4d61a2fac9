"""How a process starts, logs, reports its health and stops."""
