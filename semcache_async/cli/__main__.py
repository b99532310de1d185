"""``python -m semcache_async.cli``"""

from semcache_async.cli import main

main()
