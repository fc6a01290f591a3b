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
        13: "the program made an illegal access or instruction (graphics engine exception)",
        31: "the program reached for memory that is not its own (MMU fault)",
        43: "the program's work was stopped, others go on",
        45: "work was cleared away after the program ended or another error",
        68: "the video decoder met an error",
        137: "the program made an illegal access to a peer over NVLink",
        69: "the program sent the graphics engine what it does not know (class error)",
    },
    XidClass.MEMORY: {
        48: "two bits of memory flipped at once and could not be mended (double-bit ECC error)",
        63: "a broken memory row was recorded, to be replaced at the next reset",
        64: "a broken memory row could not be recorded",
        92: "many single bits of memory flip (high rate of corrected ECC errors)",
        94: "an ECC error was kept to the program that it hit; others go on (contained)",
        95: "an ECC error may have reached every program on the GPU (not contained)",
        140: "an ECC error could not be recovered from",
        171: "a DRAM error that could not be mended, beside an XID that tells more",
        172: "an SRAM error that could not be mended, beside an XID that tells more",
    },
    XidClass.NVLINK: {
        74: "an NVLink connection to another GPU or switch failed",
        136: "an NVLink connection could not be trained",
        144: "NVLink 5: SAW error",
        145: "NVLink 5: RLW error",
        146: "NVLink 5: TLW error",
        147: "NVLink 5: TREX error",
        148: "NVLink 5: NVLPW_CTRL error",
        149: "NVLink 5: NETIR error",
        150: "NVLink 5: MSE error",
        155: "NVLink: an error that software defines",
    },
    XidClass.GONE: {
        79: "the GPU fell off the bus: it no longer answers over PCIe",
        143: "the GPU could not be initialised",
        158: "the GPU waited for an answer that never came (fatal timeout)",
        167: "PCIe ended in a fatal timeout",
    },
    XidClass.FIRMWARE: {
        61: "an internal micro-controller broke off",
        62: "an internal micro-controller halted",
        109: "switching between programs took too long (context switch timeout)",
        119: "the GPU's system processor did not answer the driver in time (GSP RPC timeout)",
        120: "the GPU's system processor failed (GSP error)",
        121: "the link between CPU and GPU had an error that was mended (C2C)",
    },
    XidClass.ADVICE: {154: "the action that the driver wants taken for recovery has changed"},
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
    ClockReason(0x4, "power_cap", "the power limit holds the clocks down: usual under full load", is_fault=False),
    ClockReason(0x8, "hw_slowdown", "the hardware halves the clocks or worse, for heat or power", is_fault=True),
    ClockReason(0x10, "sync_boost", "the clocks follow the slowest GPU of a group", is_fault=False),
    ClockReason(0x20, "sw_thermal", "the driver lowers the clocks, for the GPU or its memory is hot", is_fault=True),
    ClockReason(0x40, "hw_thermal", "the hardware lowers the clocks, for the GPU is too hot", is_fault=True),
    ClockReason(0x80, "hw_power_brake", "the power supply asked for the brake", is_fault=True),
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
