"""What can go wrong while data comes in.

CollectorError
├── RefusedError              the sender's request is at fault; the same request never succeeds
│   ├── UndecodableError      the body is not what it claims to be
│   ├── TooLargeError         the body is over the limit, as sent or after decompression
│   ├── UnsupportedError      a media type or encoding that is not served
│   └── UnauthenticatedError  no token, or a wrong one
├── StalledError              the body did not come in time; retry
├── OverloadedError           as many bytes are at the doors as may be; retry later
├── BacklogFullError          the log holds as much as it may; retry later
├── LogUnavailableError       the log's disk cannot be written; retry later
├── LogBusyError              another process owns the log
├── ListenError               a door cannot have its address
└── SourceError               what was asked for did not come; it is asked for again
    ├── ScrapeError           the samples of a target
    ├── DiscoveryError        the targets that a file or an API server tells of
    └── ReadingError          a part of the fabric
"""


class CollectorError(Exception):
    """Anything that keeps data from coming in. `retryable` says whether the same call may succeed later."""

    retryable = False


class RefusedError(CollectorError):
    """A request that is at fault itself. `reason` is the label of its counter."""

    reason = "refused"


class UndecodableError(RefusedError):
    """The body is not what it claims to be."""

    reason = "undecodable"


class TooLargeError(RefusedError):
    """The body is over the limit."""

    reason = "too_large"


class UnsupportedError(RefusedError):
    """A media type or content encoding that is not served."""

    reason = "unsupported"


class StalledError(CollectorError):
    """The body did not come in time, and may the next time. 408 would say so, but OTLP lets nobody send that again."""

    retryable = True


class UnauthenticatedError(RefusedError):
    """The sender showed no token, or a wrong one."""

    reason = "unauthenticated"


class OverloadedError(CollectorError):
    """The requests that are at the doors together hold as many bytes as they may."""

    retryable = True


class BacklogFullError(CollectorError):
    """The log holds as many bytes as it may."""

    retryable = True


class LogUnavailableError(CollectorError):
    """The log cannot be written now."""

    retryable = True


class LogBusyError(CollectorError):
    """Another process writes this log."""


class ListenError(CollectorError):
    """A door cannot have its address."""


class SourceError(CollectorError):
    """What was asked for did not come. `reason` is the label of its counter."""

    retryable = True

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ScrapeError(SourceError):
    """A scrape that brought nothing."""


class DiscoveryError(SourceError):
    """Targets cannot be found now."""


class ReadingError(SourceError):
    """A reading of the fabric, or a part of one, that brought nothing."""
