import pytest

from benchmarks.causes.seeded import KINDS, Answer, Case, Said, cases, figures
from domain.cause import CauseKind
from domain.entity import Entity, EntityKind

CHAT = Entity(EntityKind.SERVICE, "chat")
PAIR = (CauseKind.TRAFFIC_SURGE, CauseKind.CAPACITY_LOSS)


def answer(suite: str, kinds: tuple[CauseKind, ...], *said: CauseKind, each_felt: bool = True) -> Answer:
    return Answer(
        case=Case(suite, kinds, 0, 0),
        truth=tuple((kind, CHAT) for kind in kinds),
        said=tuple(Said(kind, CHAT, 0.5) for kind in said),
        felt=True,
        each_felt=each_felt,
        onset_error_s=None,
        detected_after_s=None,
        incidents=1,
        seconds=0.0,
        why_not="",
    )


def test_kinds_that_requests_tell_by_themselves_are_not_removed() -> None:
    removed = {case.kinds[0] for case in cases(["removed"], 1, KINDS)}
    assert {CauseKind.GPU_FAULT, CauseKind.NETWORK_CONGESTION} <= removed
    assert not removed & {CauseKind.COLD_START, CauseKind.CAPACITY_LOSS, CauseKind.STRAGGLER, CauseKind.BAD_RELEASE}


def test_of_two_causes_both_must_be_within_three() -> None:
    other, another = CauseKind.STRAGGLER, CauseKind.COLD_START
    second, third, fourth = (answer("two", PAIR, *said) for said in (PAIR, (other, *PAIR), (other, another, *PAIR)))
    assert [figures([one])["two_both_within_3"] for one in (second, third, fourth)] == [1, 1, 0]


def test_pairs_that_are_not_felt_each_are_left_out_of_one_figure_only() -> None:
    told = figures([answer("two", PAIR, *PAIR), answer("two", PAIR, PAIR[0], each_felt=False)])
    assert (told["two_both_within_3"], told["two_both_within_3_each_felt"]) == (0.5, 1)


@pytest.mark.parametrize(
    ("said", "right"), [((), 1), ((CauseKind.UNKNOWN,), 1), ((CauseKind.STRAGGLER,), 1), ((CauseKind.NVLINK_FAULT,), 0)]
)
def test_where_signals_are_removed_unknown_or_a_parent_is_right(said: tuple[CauseKind, ...], right: int) -> None:
    assert figures([answer("removed", (CauseKind.GPU_FAULT,), *said)]) == {"removed_unknown_or_parent": right}
