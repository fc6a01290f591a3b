"""How severities look: word, tone, icon."""

from types import MappingProxyType

from domain.incident import Severity

SEVERITIES = MappingProxyType(
    {
        Severity.PAGE: ("Page", "critical", "flame"),
        Severity.TICKET: ("Ticket", "warning", "triangle-alert"),
        Severity.INFO: ("Info", "calm", "circle-alert"),
    }
)
