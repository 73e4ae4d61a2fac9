"""Attacks on whatever the product reads, with generators and oracles that share no code with it."""
