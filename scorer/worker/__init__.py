"""The worker behind `scorer run`."""
