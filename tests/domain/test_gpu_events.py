import pytest

from domain.gpu_events import CLOCK_REASONS, XIDS, XidClass, clock_reasons, xid


@pytest.mark.parametrize(
    ("code", "kind", "is_hardware"),
    [
        (31, XidClass.APPLICATION, False),
        (94, XidClass.MEMORY, True),
        (74, XidClass.NVLINK, True),
        (79, XidClass.GONE, True),
        (119, XidClass.FIRMWARE, True),
        (154, XidClass.ADVICE, False),
        (9999, XidClass.UNKNOWN, False),
    ],
)
def test_an_xid_says_where_its_fault_lies(code: int, kind: XidClass, is_hardware: bool) -> None:  # noqa: FBT001
    found = xid(code)
    assert (found.code, found.kind, found.is_hardware) == (code, kind, is_hardware)
    assert found.text


def test_each_xid_has_one_class_and_its_own_words() -> None:
    assert all(entry.code == code for code, entry in XIDS.items())
    texts = [entry.text for entry in XIDS.values()]
    assert len(texts) == len(set(texts))


@pytest.mark.parametrize(
    ("bitmask", "names", "throttled"),
    [
        (0, [], False),
        (1, ["idle"], False),
        (4, ["power_cap"], False),
        (96, ["sw_thermal", "hw_thermal"], True),
        (0x88, ["hw_slowdown", "hw_power_brake"], True),
        (0x205, ["idle", "power_cap", "unknown_0x200"], False),
    ],
)
def test_a_bitmask_becomes_its_reasons(bitmask: int, names: list[str], throttled: bool) -> None:  # noqa: FBT001
    assert [reason.name for reason in clock_reasons(bitmask)] == names
    assert any(reason.is_fault for reason in clock_reasons(bitmask)) is throttled


def test_each_reason_is_one_bit_and_the_faults_are_heat_and_brake() -> None:
    assert all(reason.bit.bit_count() == 1 for reason in CLOCK_REASONS)
    assert sum(reason.bit for reason in CLOCK_REASONS if reason.is_fault) == 0xE8


def test_a_negative_bitmask_is_refused() -> None:
    with pytest.raises(ValueError, match="-1 is no bitmask"):
        clock_reasons(-1)
