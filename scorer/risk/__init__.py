"""Edge. `scorer risk`: publishes snapshots of merchant risk."""
