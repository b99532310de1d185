"""Programs that people run, in front of ``semcache serve``: which of their requests hit, and why
not the others."""
