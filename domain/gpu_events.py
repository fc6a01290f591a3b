"""What a GPU says of itself in numbers: XID errors, and the reasons for its clocks, in words.

Sources: NVIDIA's XID catalogue (https://docs.nvidia.com/deploy/xid-errors/) and the clock event reasons of NVML
(https://docs.nvidia.com/deploy/nvml-api/group__nvmlClocksEventReasons.html), which DCGM passes on as
DCGM_FI_DEV_XID_ERRORS and DCGM_FI_DEV_CLOCKS_EVENT_REASONS (older: DCGM_FI_DEV_CLOCK_THROTTLE_REASONS).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class XidClass(StrEnum):
    """Where the fault of an XID usually lies."""

    APPLICATION = "application"
    MEMORY = "memory"
    NVLINK = "nvlink"
    GONE = "gone"
    """The GPU has left the bus, or does not start."""
    FIRMWARE = "firmware"
    """A reset or a reboot mends it."""
    ADVICE = "advice"
    """No fault: what the driver wants done about one."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Xid:
    """An XID error: its number, what it says, and where the fault usually lies."""

    code: int
    text: str
    kind: XidClass

    @property
    def is_hardware(self) -> bool:
        """Is it the machine's doing rather than the program's."""
        return self.kind in (XidClass.MEMORY, XidClass.NVLINK, XidClass.GONE, XidClass.FIRMWARE)


_XIDS: Mapping[XidClass, Mapping[int, str]] = {
    XidClass.APPLICATION: {
        13: "graphics engine exception: the program made an illegal access or instruction",
        31: "MMU fault: the program accessed memory that is not its own",
        43: "the GPU stopped processing this program; others go on",
        45: "preemptive cleanup after the program ended or another error",
        68: "video decoder exception",
        137: "the program made an illegal access to a peer over NVLink",
        69: "graphics engine class error: the program sent a command that it does not know",
    },
    XidClass.MEMORY: {
        48: "uncorrectable double-bit ECC error",
        63: "a faulty memory row was recorded, to be remapped at the next reset",
        64: "row remap failure: a faulty memory row could not be recorded",
        92: "high rate of single-bit (corrected) ECC errors",
        94: "contained ECC error: only the program that it hit is affected",
        95: "uncontained ECC error: every program on the GPU may be affected",
        140: "unrecovered ECC error",
        171: "uncorrectable DRAM error; another XID tells more",
        172: "uncorrectable SRAM error; another XID tells more",
    },
    XidClass.NVLINK: {
        74: "NVLink error: a connection to another GPU or switch failed",
        136: "NVLink link training failed",
        144: "NVLink 5: SAW error",
        145: "NVLink 5: RLW error",
        146: "NVLink 5: TLW error",
        147: "NVLink 5: TREX error",
        148: "NVLink 5: NVLPW_CTRL error",
        149: "NVLink 5: NETIR error",
        150: "NVLink 5: MSE error",
        155: "NVLink: software-defined error",
    },
    XidClass.GONE: {
        79: "the GPU fell off the bus: it no longer answers over PCIe",
        143: "GPU initialisation failed",
        158: "GPU fatal timeout",
        167: "PCIe fatal timeout",
    },
    XidClass.FIRMWARE: {
        61: "internal micro-controller breakpoint or warning",
        62: "internal micro-controller halt",
        109: "context switch timeout",
        119: "GSP RPC timeout: the GPU's system processor did not answer the driver in time",
        120: "GSP error: the GPU's system processor failed",
        121: "corrected error of the C2C link between CPU and GPU",
    },
    XidClass.ADVICE: {154: "GPU recovery action changed"},
}

XIDS: Mapping[int, Xid] = {
    code: Xid(code, text, kind) for kind, texts in _XIDS.items() for code, text in sorted(texts.items())
}
"""The XIDs that matter for serving, by number."""


def xid(code: int) -> Xid:
    """What an XID says; one that is not in `XIDS` is told to be looked up."""
    return XIDS.get(code) or Xid(code, "not described here: see NVIDIA's XID catalogue", XidClass.UNKNOWN)


@dataclass(frozen=True, slots=True)
class ClockReason:
    """Why a GPU's clocks are where they are: one bit. `is_fault` when it holds a GPU back that should run."""

    bit: int
    name: str
    text: str
    is_fault: bool


CLOCK_REASONS: tuple[ClockReason, ...] = (
    ClockReason(0x1, "idle", "nothing runs, so the clocks are low", is_fault=False),
    ClockReason(0x2, "clocks_setting", "an administrator set the clocks", is_fault=False),
    ClockReason(0x4, "power_cap", "SW power cap: at the power limit, as usual under full load", is_fault=False),
    ClockReason(0x8, "hw_slowdown", "HW slowdown: clocks cut to half or less, for heat or power", is_fault=True),
    ClockReason(0x10, "sync_boost", "the clocks follow the slowest GPU of a group", is_fault=False),
    ClockReason(
        0x20, "sw_thermal", "SW thermal slowdown: the driver lowers the clocks, as GPU or memory is hot", is_fault=True
    ),
    ClockReason(
        0x40, "hw_thermal", "HW thermal slowdown: the hardware lowers the clocks, as the GPU is too hot", is_fault=True
    ),
    ClockReason(0x80, "hw_power_brake", "HW power brake slowdown: the power supply asserted the brake", is_fault=True),
    ClockReason(0x100, "display_clocks", "a display sets the clocks", is_fault=False),
)
"""The bits of the clock event reasons; names as dcgm-exporter's label `clock_event` has them."""


def clock_reasons(bitmask: int) -> tuple[ClockReason, ...]:
    """The reasons in a bitmask, lowest bit first; bits without a meaning here are one reason named by their number.

    Raises:
        ValueError: when it is negative.
    """
    if bitmask < 0:
        raise ValueError(f"{bitmask} is no bitmask of clock reasons; expected 0 or more")
    known = tuple(reason for reason in CLOCK_REASONS if bitmask & reason.bit)
    rest = bitmask & ~sum(reason.bit for reason in CLOCK_REASONS)
    if not rest:
        return known
    return (*known, ClockReason(rest, f"unknown_{rest:#x}", "not described here: see NVML's reasons", is_fault=False))
