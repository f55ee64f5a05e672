"""Which effects become lines of the verdict, and in which order."""

from dataclasses import replace

from armillary.diff.effect import Effect, apart, telling, verdict
from armillary.numerics.intervals import Interval


def effect(name: str, estimate: float, half: float, p: float, floor: float, section: str = "") -> Effect:
    value = Interval(estimate=estimate, low=estimate - half, high=estimate + half)
    return Effect(
        id=name,
        kind="drifted",
        sentence=name,
        value=value,
        unit="share of answers",
        p=p,
        floor=floor,
        section=section or name,
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
        effect("small floor", 0.4, 0.05, 1e-5, 0.06, "kept"),
        effect("second of kept", 0.3, 0.05, 1e-5, 0.06, "kept"),
        effect("wide", 0.9, 0.8, 1e-5, 0.06, "attributes"),
        effect("large floor", -0.4, 0.05, 1e-5, 0.2, "where"),
    ]
    lines = verdict(effects)
    assert [line.effect for line in lines] == ["small floor", "large floor", "second of kept", "wide"]
    assert lines[0].floors > lines[1].floors > lines[3].floors == 0  # the corrected interval of "wide" holds 0
    assert len(verdict(effects, most=2)) == 2


def test_the_bound_is_the_end_of_the_corrected_interval() -> None:
    (line,) = verdict([effect("one", -0.5, 0.2, 0.01, 0.1)])
    assert abs(line.bound - 0.3) < 1e-9 and line.same == () and abs(line.floors - 3) < 1e-6


def test_no_floor_is_finer_than_what_a_reader_would_call_a_change() -> None:
    # Rounding alone moves a divergence by 1e-4, and that puts no drift of 0.1 nats before half of the answers lost.
    drift = replace(effect("drift", 0.1, 0.001, 1e-5, 1e-4), unit="nats a token")
    lost = effect("lost", -0.5, 0.1, 1e-5, 0.05)
    assert [line.effect for line in verdict([drift, lost])] == ["lost", "drift"]
    assert telling("share of answers that are right") == 0.05 and telling("% of the weights' norm") == 1
    # The test itself is against the noise floor: a small change is seen.
    assert [line.effect for line in verdict([replace(drift, value=Interval(estimate=0.01, low=0.009, high=0.011))])]


def test_one_finding_has_one_line() -> None:
    flips = replace(effect("flips/sums", 0.4, 0.1, 1e-5, 0.05), finding="sums learned")
    kept = replace(effect("kept/sums", 0.6, 0.1, 1e-5, 0.05), finding="sums learned")
    other = replace(effect("kept/facts", -0.6, 0.1, 1e-5, 0.05), finding="facts forgot")
    lines = verdict([flips, kept, other])
    assert {line.effect: line.same for line in lines} == {"kept/sums": ("flips/sums",), "kept/facts": ()}
    # One that did not pass by itself is no part of it.
    assert [line.same for line in verdict([replace(flips, p=0.9), kept])] == [()]


def test_a_sure_change_too_small_to_be_called_one_comes_last() -> None:
    small = effect("small", 0.01, 0.001, 1e-5, 0.001, "a section of its own")
    large = [effect(f"large {number}", 0.5, 0.05, 1e-5, 0.01, "kept") for number in range(2)]
    assert [line.effect for line in verdict([small, *large])] == ["large 0", "large 1", "small"]


def test_two_numbers_are_told_apart_where_they_differ() -> None:
    assert apart(1.49, 1.2, ".1f") == ("1.5", "1.2")
    assert apart(1.492, 1.489, ".2f") == ("1.492", "1.489")
    assert apart(0.004, 0.0, ".0%") == ("0.4%", "0.0%")
    assert apart(1.0, 1.0, ".2f") == ("1.00000", "1.00000")
