"""How long a test waits for what has to come."""

from __future__ import annotations

#: Bounds what never comes, and measures nothing: on two cores that a broker, a store, three shadows of the lowest
#: priority and another file of tests share, a second's work may take a minute. A promise about time has its own number.
PATIENCE_SECONDS = 600.0
