"""The worker behind `shadow run`: compares a slot's candidate with live."""
