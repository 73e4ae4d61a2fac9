"""The live path: decides payment transactions from Kafka with a LightGBM model. It knows nothing of the shadow."""

import os

# Otherwise LightGBM's threads spin while they wait, and two trainings at once take many times as long.
# LightGBM reads this when its library is loaded, so it must be set before any import of it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
