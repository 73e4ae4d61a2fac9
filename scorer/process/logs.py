"""Configures logging: JSON lines for machines, or text for people."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import orjson

from scorer.settings import CommonSettings

#: Modules under whose names Faust logs: mode logs for a class under the name of the module that defines it.
FAUSTS_OWN = ("scorer.streaming.app", "scorer.streaming.consumer", "scorer.streaming.thread")


class JsonLines(logging.Formatter):
    """Formats a log record as one line of JSON: time, level, logger, message, and the traceback if there is one."""

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
    """A `logging.config.dictConfig` for a worker.

    Our own lines are logged from the setting `log_level` on, those of Faust and aiokafka from WARNING on, or from INFO
    on if `log_level` is DEBUG.
    """
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
