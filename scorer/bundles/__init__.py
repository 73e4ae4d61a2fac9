"""Model bundles: a model and its manifest, under the digest of their content, and where they are stored."""
