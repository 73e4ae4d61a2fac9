"""Transactions from other sources than a payment system: files, simulations, replays."""
