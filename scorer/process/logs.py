"""Log lines: one JSON object a line, or text for people."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import orjson

from scorer.settings import CommonSettings

#: Modules whose lines are Faust's own: mode logs under the name of a class's module.
FAUSTS_OWN = ("scorer.batches", "scorer.consumer", "scorer.consumer_thread")


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()


def config(settings: CommonSettings) -> dict[str, Any]:
    """A `logging.config.dictConfig` for a worker: our own lines at the chosen level, the libraries' from WARNING, or
    from INFO under DEBUG. Faust logs a service's life under the name of the module that it is in."""
    theirs = "INFO" if settings.log_level == "DEBUG" else "WARNING"
    formats: dict[str, dict[str, Any]] = {
        "json": {"()": JsonLines},
        "text": {"format": "%(asctime)s %(levelname)s %(message)s", "datefmt": "%H:%M:%S"},
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": formats[settings.log_format]},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {name: {"level": settings.log_level} for name in ("scorer", "shadow")}
        | {name: {"level": theirs} for name in ("faust", "mode", "aiokafka", *FAUSTS_OWN)},
    }
