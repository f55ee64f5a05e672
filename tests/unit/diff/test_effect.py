"""Which effects become lines of the verdict, and in which order."""

from armillary.diff.effect import Effect, verdict
from armillary.numerics.intervals import Interval


def effect(name: str, estimate: float, half: float, p: float, floor: float, section: str = "") -> Effect:
    value = Interval(estimate=estimate, low=estimate - half, high=estimate + half)
    return Effect(
        id=name, kind="drifted", sentence=name, value=value, unit="", p=p, floor=floor, section=section or name
    )


def test_only_what_survives_correction_and_exceeds_its_floor_is_said() -> None:
    sure = effect("sure", -0.5, 0.1, 0.001, 0.1)
    many = [effect(f"chance {index}", 0.3, 0.25, 0.04, 0.1) for index in range(3)]
    below = effect("below", 0.09, 0.01, 0.0001, 0.1)
    assert [line.effect for line in verdict([*many, sure, below])] == ["sure"]
    # Alone on the page the same effect would have been enough.
    assert [line.effect for line in verdict(many[:1])] == ["chance 0"]
    assert verdict([]) == []


def test_lines_are_ranked_by_bound_over_floor_the_best_of_each_section_first() -> None:
    effects = [
        effect("small floor", 0.4, 0.05, 1e-5, 0.01, "kept"),
        effect("second of kept", 0.3, 0.05, 1e-5, 0.01, "kept"),
        effect("wide", 0.9, 0.8, 1e-5, 0.01, "attributes"),
        effect("large floor", -0.4, 0.05, 1e-5, 0.2, "where"),
    ]
    lines = verdict(effects)
    assert [line.effect for line in lines] == ["small floor", "large floor", "wide", "second of kept"]
    assert lines[0].floors > lines[1].floors > lines[2].floors == 0  # the corrected interval of "wide" holds 0
    assert len(verdict(effects, most=2)) == 2


def test_the_bound_is_the_end_of_the_corrected_interval() -> None:
    (line,) = verdict([effect("one", -0.5, 0.2, 0.01, 0.1)])
    assert abs(line.bound - 0.3) < 1e-9 and abs(line.floors - 3) < 1e-6
