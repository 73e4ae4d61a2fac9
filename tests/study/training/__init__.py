"""What a training is worth and what it takes: on public data, by the protocol that its authors published."""
