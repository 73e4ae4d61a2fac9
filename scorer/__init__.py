"""The live path: scores transactions with the live model and publishes decisions."""
