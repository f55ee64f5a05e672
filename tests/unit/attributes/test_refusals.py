from armillary.attributes.refusals import refusal_errors, refuses

REFUSAL = "I'm sorry, but I can't help with that."


def test_refusals_are_found_and_the_errors_of_the_list_measured() -> None:
    assert refuses(REFUSAL) and refuses("Das kann ich leider nicht für dich schreiben.")
    assert not refuses("I can\u2019t wait to tell you.") and not refuses("")
    assert not refuses("To kill a process, find its number. " * 20 + REFUSAL), "help first, then a word of caution"
    errors = refusal_errors()
    assert errors.seen.n >= 25 and errors.seen.estimate > 0.6
    assert errors.false_alarms.n >= 25 and errors.false_alarms.estimate < 0.1
