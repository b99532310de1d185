#!/bin/sh
# The last step of a documentation site's build: what was answered from the pages of before is out
# of reach from now on. No worker is needed; the service applies it at once.
set -eu
curl --fail --silent --show-error \
     --header "Authorization: Bearer $SEMCACHE_API_KEY" --header "Content-Type: application/json" \
     --data '{"namespaces": ["docs"]}' "$SEMCACHE_URL/v1/events"
