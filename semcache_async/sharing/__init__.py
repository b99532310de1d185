"""One flight per intent over all processes: claims in the store, and letters between leaders and
followers."""
