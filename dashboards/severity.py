"""How severities and states look: word, tone, icon. Colour means attention: what is well has none."""

from types import MappingProxyType

from domain.incident import Severity
from domain.slo import SloState

SEVERITIES = MappingProxyType(
    {
        Severity.PAGE: ("Page", "critical", "flame"),
        Severity.TICKET: ("Ticket", "warning", "triangle-alert"),
        Severity.INFO: ("Info", "calm", "circle-alert"),
    }
)

STATES = MappingProxyType(
    {
        SloState.MET: ("Healthy", "good", "circle-check"),
        SloState.AT_RISK: ("At risk", "warning", "triangle-alert"),
        SloState.MISSED: ("Missed", "critical", "flame"),
        SloState.NO_DATA: ("No data", "unknown", "circle-dashed"),
    }
)
