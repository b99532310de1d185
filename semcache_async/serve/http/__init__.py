"""What holds for any protocol over HTTP: connections, bodies, origins, who may ask, errors."""
