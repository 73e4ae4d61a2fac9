"""How cost grows: the bill for a rate from pieces measured in one run, and the experiments that show where it bends."""
