"""One store of several partitions, which may lie on different servers."""
