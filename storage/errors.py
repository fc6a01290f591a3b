"""What can go wrong in the store.

StoreError
├── StoreUnavailableError   the store cannot be reached or opened now; trying again later may work
├── StoreBusyError          another process owns the embedded store
├── UndecodableError        the bytes are not what they claim to be; trying again never works
├── QueryError              the store refused the statement
└── UnreadableTableError    a table of somebody else's is not as any exporter makes it
"""


class StoreError(Exception):
    """Anything the store cannot do. `retryable` says whether the same call may succeed later."""

    retryable = False


class StoreUnavailableError(StoreError):
    """The store cannot be reached, opened or written to now."""

    retryable = True


class StoreBusyError(StoreError):
    """Another process owns the embedded store, and no gateway to it answers."""


class UndecodableError(StoreError):
    """The engine cannot decode the payload."""


class QueryError(StoreError):
    """The store refused a statement."""


class UnreadableTableError(StoreError):
    """A table that is to be read is not there, or lacks columns that are needed."""
