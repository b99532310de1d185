"""The service's log: one JSON object a line on stderr, with the request's id where there is one."""

from __future__ import annotations

import logging
import sys
import time

import msgspec

from semcache_async.serve.http.request_id import request_id

__all__ = ["log_to_stderr", "quiet_logger"]

_EXTRA = ("event", "trace", "path", "body")
"""What a record may bring along."""


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": request_id.get(None),
            **{name: getattr(record, name, None) for name in _EXTRA},
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__qualname__  # its message may hold a prompt
        shown = {name: value for name, value in line.items() if value is not None}
        return msgspec.json.encode(shown).decode()


def log_to_stderr() -> None:
    """Set up the log of a process that does nothing but serve. An error's own words stay out:
    libraries put requests into them."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("semcache_async").setLevel(logging.INFO)
    logging.captureWarnings(True)


def quiet_logger() -> logging.Logger:
    """For aiohttp's server, which logs what a broken request holds."""
    logger = logging.getLogger("semcache_async.aiohttp")
    logger.setLevel(logging.CRITICAL)
    return logger
