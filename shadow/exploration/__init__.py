"""Questions on where, when and why a candidate differs from live, answered from its samples. Pure."""
