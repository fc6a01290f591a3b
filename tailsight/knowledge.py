"""Signals and causes of somebody's own: read from their files once, at start."""

from pathlib import Path

from analytics.knowledge import Knowledge, KnowledgeError, extended, shipped_knowledge


def read_own_knowledge(signals: Path | None, causes: Path | None) -> Knowledge:
    """What Tailsight knows, with the signals and causes of these files: an entry of the same name takes ours' place.

    Raises:
        KnowledgeError: naming the file, the entry and the field that cannot be used.
    """
    return extended(
        shipped_knowledge(), _text(signals), _text(causes), signals_file=str(signals), causes_file=str(causes)
    )


def _text(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        return file.read_text()
    except OSError as error:
        raise KnowledgeError(str(file), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise KnowledgeError(str(file), f"is no text in UTF-8: {error}") from None
