"""Statistics that know nothing of fraud. Pure: numpy and scipy only."""
