"""Read off a text what it has, ask for it in words, and see what two answers meet and where one of them fails.

    python examples/ultragen.py

No model and no download: the second answer stands in for one.
"""

from armillary.attributes.attribute_set import AttributeSet

TEXT = """The harbour of Lindow

The harbour has three piers, and the oldest of them is made of wood. Every morning the boats bring in herring, crab \
and mussels. Who buys them?

* restaurants along the quay
* two markets in the town
* families who have come for generations

The lighthouse at the end of the long pier was built in 1874. It is still lit by hand, and the keeper writes a note \
each night."""

ANSWER = """Lindow harbour is a lovely place. It has piers, boats and a lighthouse built in 1874.

* restaurants along the quay
* two markets

Come and see it!"""


def main() -> None:
    """Print the instruction, and for both texts how much of it they meet."""
    attributes = AttributeSet.from_text(TEXT, n=15, seed=1)
    print(attributes.render())
    for name, response in {"the text itself": TEXT, "another answer": ANSWER}.items():
        report = attributes.check(response)
        print(f"\n{name}: {report.satisfied} of {report.judged} attributes met")
        for attribute, verdict in zip(attributes.attributes, report.verdicts, strict=True):
            if verdict.satisfied is False:
                places = ", ".join(repr(response[span.start : span.end])[:40] for span in verdict.spans[:2])
                print(f"  not met: {attribute.text} ({verdict.measured}{': ' + places if places else ''})")


if __name__ == "__main__":
    main()
