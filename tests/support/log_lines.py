"""What is logged, as a list of lines."""

import logging


def logger_into(lines: list[str]) -> logging.Logger:
    """A logger that appends every message to the list, at any level."""

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger = logging.Logger("lines")
    logger.addHandler(Lines())
    return logger
