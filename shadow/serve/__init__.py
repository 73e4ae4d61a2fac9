"""The work behind `shadow serve`: runs the gate, follows the ledger and the labels."""
