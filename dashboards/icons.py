"""Which icon of assets/icons.css stands for what; words beside it always say the same."""

from types import MappingProxyType

from domain.cause import CauseKind
from domain.entity import EntityKind

ENTITY_ICONS = MappingProxyType(
    {
        EntityKind.SERVICE: "layers",
        EntityKind.TENANT: "user-round",
        EntityKind.VERSION: "tag",
        EntityKind.REPLICA: "box",
        EntityKind.GPU: "gpu",
        EntityKind.NODE: "server",
        EntityKind.PORT: "ethernet-port",
        EntityKind.LINK: "cable",
        EntityKind.SWITCH: "network",
    }
)

CAUSE_ICONS = MappingProxyType(
    {
        CauseKind.GPU_MEMORY_PRESSURE: "memory-stick",
        CauseKind.GPU_MEMORY_CONTENTION: "memory-stick",
        CauseKind.GPU_COMPUTE_CONTENTION: "gpu",
        CauseKind.GPU_THERMAL_THROTTLE: "thermometer",
        CauseKind.GPU_POWER_THROTTLE: "zap",
        CauseKind.GPU_FAULT: "triangle-alert",
        CauseKind.PCIE_DEGRADED: "circuit-board",
        CauseKind.NVLINK_FAULT: "link-2-off",
        CauseKind.NETWORK_SATURATION: "gauge",
        CauseKind.NETWORK_CONGESTION: "network",
        CauseKind.NETWORK_LINK_FAULT: "unplug",
        CauseKind.STRAGGLER: "turtle",
        CauseKind.TRAFFIC_SURGE: "trending-up",
        CauseKind.PROMPT_MIX_SHIFT: "file-text",
        CauseKind.COLD_START: "hourglass",
        CauseKind.CAPACITY_LOSS: "server-off",
        CauseKind.BAD_RELEASE: "rocket",
        CauseKind.HOST_CONTENTION: "cpu",
        CauseKind.UPSTREAM_DEPENDENCY: "workflow",
        CauseKind.UNKNOWN: "circle-question-mark",
    }
)
