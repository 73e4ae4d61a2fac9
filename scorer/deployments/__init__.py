"""Which bundle is in which slot, and why: the records of the deployments topic, and changes of slots."""
