"""The first ten minutes: ``init`` writes the service's file, which ``template`` makes of its
options; ``doctor`` looks at all that the service needs, of which ``here`` and ``redis`` say what
they find, each thing a ``Finding``; ``docs`` shows what there is to read on."""
