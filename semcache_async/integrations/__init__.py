"""The cache in other frameworks: each module needs its own, which the package does not."""
