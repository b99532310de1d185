"""The first ten minutes: ``init`` writes the service's file, which ``template`` makes of its
options."""
