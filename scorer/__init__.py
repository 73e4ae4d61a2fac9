"""The live path: decides payment transactions from Kafka with a LightGBM model. Knows nothing of any shadow."""

import os

# LightGBM's threads would spin while they wait: two trainings on two cores took 46 s instead of 3.
# Read when its library is loaded, so it must stand before any import of it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
