"""What every client of a service over HTTP needs, whatever the service does: when to ask once more,
and what an error says."""
