"""Where models come from, and where they are kept once they are built and checked."""
