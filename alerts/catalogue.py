"""Every alert that there is: what it means, what to do first, how urgent it is, and by which labels it is known.

The page `/alerts` shows it (a runbook link leads there), and docs/alerts.md says the same: a test holds them together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class AlertKind:
    """One alert. `labels` are those beside `alertname` and `severity`; one in brackets is not always there."""

    name: str
    severities: tuple[str, ...]
    labels: tuple[str, ...]
    meaning: str
    first: tuple[str, ...]


_ALL = (
    AlertKind(
        "SLOBurnRate",
        ("page", "ticket"),
        ("service", "slo", "indicator"),
        "Requests fail, or are slower than promised, so often that the error budget of an objective goes too fast: a "
        "page when 2 % of it went within an hour or 5 % within six, a ticket for slower loss.",
        (
            "Open the incident that the alert names, if it names one: its first cause has the next step.",
            "Without an incident, open the objective, and compare replicas, versions and tenants since it burns.",
            "Something was released within the hour: roll it back before looking further.",
        ),
    ),
    AlertKind(
        "TailsightLatencySpike",
        ("page", "ticket"),
        ("service", "indicator", "incident", "[model]"),
        "An incident: latency or failures of a service left what is usual, users feel it, and the likeliest cause is "
        "named with its evidence.",
        (
            "Do the next step of the first cause when its evidence convinces you.",
            "Cause unknown: open two of the traces that the alert names, and see in which stage the time went.",
            "Note on its page that you look into it, and acknowledge where it paged you: the note stops no escalation.",
            (
                "No step in the percentiles? It may be faint: a few requests in a hundred slow, or failing, on one "
                "replica of many. Read how many are slow, and on which."
            ),
        ),
    ),
    AlertKind(
        "SLOBudgetSpent",
        ("ticket",),
        ("service", "slo"),
        "More of the error budget is gone than there was: the promise of this window is broken.",
        (
            "Stop risky changes to the service until the budget is back, as your error budget policy says.",
            "See which incidents spent most of it, and put their repair before new work.",
        ),
    ),
    AlertKind(
        "SLOBudgetRunsOut",
        ("ticket",),
        ("service", "slo"),
        "The budget will be spent within the horizon (`alerts.exhaustion_horizon_hours`) if the last day goes on.",
        (
            "See what burns: a steady small failure shows in the errors by replica, version and tenant.",
            "Nothing to mend: ask `tailsight slo backtest` what another target would have brought.",
        ),
    ),
    AlertKind(
        "SLONoData",
        ("ticket",),
        ("service", "slo"),
        "An objective had no request in its window: it is neither met nor missed.",
        (
            "See whether the service has traffic at all, and still sends its spans under the same service.name.",
            "A service that was taken down: delete its objective.",
        ),
    ),
    AlertKind(
        "TailsightDataLate",
        ("ticket", "page where alerts.page_on_silence says so, and no service is heard of"),
        ("service", "source"),
        "No request, or no sample, has come in for five minutes: what happens now is not seen. Of several "
        "services that are all silent it is told at once, in place of a page for each.",
        (
            "`tailsight doctor` says what is late or down, and what to do.",
            "The page Data names the silent source; ask its collector for refused exports.",
            "tailsight_collector_* at /metrics says whether we refuse, wait or got nothing.",
            "Where tables of others are read, look at tailsight_catch_up_*, and for catching_up_failed in the log.",
        ),
    ),
    AlertKind(
        "TailsightGpuUnhealthy",
        ("ticket", "page where alerts.page_on_faults says so"),
        ("gpu", "[node]", "[incident]"),
        "A GPU is broken or held back: it fell off the bus, has memory, firmware or NVLink errors, is slowed by heat "
        "or power for long, or its PCIe link is less than it was. The first three stay until a reset is seen.",
        (
            "See which services depend on it: with none it can wait; drain a replica that runs on it first.",
            "Memory or firmware: drain its replicas, reset the GPU; open a hardware ticket when it comes again.",
            "Off the bus, no reset helps: cordon the node, take its replicas away, reboot once nobody is served there.",
            "Heat or power: compare with the other GPUs of the node; all of them point to cooling or the power limit.",
        ),
    ),
    AlertKind(
        "TailsightLinkUnhealthy",
        ("ticket", "page where alerts.page_on_faults says so"),
        ("port", "[node]", "[incident]"),
        "A link of the fabric is down, flaps, has errors of its own, or runs at less than its rate or width.",
        (
            "Look at both ends: errors at one end point to the cable or its optics, at both to the port.",
            "Take the node out of jobs that cross nodes; reseat, then swap the cable; clear the counters and watch.",
        ),
    ),
    AlertKind(
        "TailsightCostRunaway",
        ("ticket",),
        ("scope", "[dimension]"),
        "GPU spending went well beyond what was to be expected, for long enough not to be a peak; of one service, "
        "beyond what its requests explain.",
        (
            "See what grew: more requests, longer ones, idle GPUs, or another price.",
            "Idle or forgotten replicas: scale them in; a tenant's growth: tell its owner.",
        ),
    ),
    AlertKind(
        "TailsightTrafficStopped",
        ("page", "ticket"),
        ("service",),
        "A service that always has requests has had none for five minutes or more.",
        (
            "Send it a request: when it fails before the service, look at DNS, the load balancer and the gateway.",
            "When requests are served, its spans are missing: look at its exporter and at the Data page.",
        ),
    ),
    AlertKind(
        "TailsightBudgetOverspent",
        ("ticket",),
        ("budget",),
        "A budget of dollars is spent, or will be before its period is over.",
        (
            "See on the Cost page what grew against the period before, and what stands idle.",
            "Follow the advice with the greatest saving, or agree on another budget.",
        ),
    ),
)

ALERTS: Mapping[str, AlertKind] = {kind.name: kind for kind in _ALL}
"""By name."""


def runbook_url(web_url: str, name: str) -> str:
    """Where people read what to do first.

    Args:
        web_url: where the pages are reached.
        name: an alert of `ALERTS`, or a kind of cause.
    """
    return f"{web_url}/alerts#{quote(name)}"
