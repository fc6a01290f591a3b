"""The knowledge of a site that calls some things its own way."""

from dataclasses import replace

from analytics.knowledge import shipped_knowledge
from domain.cause import CauseKind

_SHIPPED = shipped_knowledge()
_SYMBOL_ERRORS = replace(_SHIPPED.signals["symbol_errors"], title="Dirty symbols")
_LINK_FAULT = replace(_SHIPPED.patterns[CauseKind.NETWORK_LINK_FAULT], title="Dim optics")
OWN_TITLES = replace(
    _SHIPPED,
    signals={**_SHIPPED.signals, "symbol_errors": _SYMBOL_ERRORS},
    patterns={**_SHIPPED.patterns, CauseKind.NETWORK_LINK_FAULT: _LINK_FAULT},
)
