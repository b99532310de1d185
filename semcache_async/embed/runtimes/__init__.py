"""What runs a graph on this CPU, and what it must show before its vectors are used."""
