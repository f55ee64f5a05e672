"""Problems of school mathematics with worked solutions, drawn from templates; a document is a template.

A template belongs to one split, so what is scored is never only the wording of a template that was seen before.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from math import comb, gcd, isqrt, perm
from random import Random

from armillary.data.sources import DataSource, own_source
from armillary.data.texts.pieces import Document

PROBLEMS = 100
"""Problems drawn of each template; repetitions are dropped later."""

Template = Callable[[Random], str]


def problems() -> Iterator[Document]:
    """The templates with their problems: the same ones always."""
    for name, template in TEMPLATES.items():
        random = Random(f"{name} 1")
        yield Document(name, tuple(dict.fromkeys(template(random) for _ in range(PROBLEMS))))


def problems_source() -> DataSource:
    """The entry of the generator."""
    return own_source("mathematical problems with worked solutions")


def _linear_equation(random: Random) -> str:
    factor, x, added = random.randint(2, 12), random.randint(2, 20), random.randint(1, 30)
    total = factor * x + added
    return (
        f"Solve {factor}x + {added} = {total}. Subtract {added} from both sides: {factor}x = {total - added}. "
        f"Divide both sides by {factor}: x = {total - added}/{factor} = {x}. Answer: x = {x}."
    )


def _quadratic_equation(random: Random) -> str:
    small, large = sorted(random.sample(range(1, 13), 2))
    total, product = small + large, small * large
    return (
        f"Find the roots of x^2 - {total}x + {product} = 0. We look for two numbers whose product is {product} and "
        f"whose sum is {total}: these are {small} and {large}. So x^2 - {total}x + {product} = "
        f"(x - {small})(x - {large}), which is zero when x = {small} or x = {large}."
    )


def _two_equations(random: Random) -> str:
    x, y, factor = random.randint(1, 15), random.randint(1, 15), random.randint(2, 6)
    return (
        f"Two unknowns satisfy x + y = {x + y} and {factor}x - y = {factor * x - y}. Adding the two equations removes "
        f"y: {factor + 1}x = {(factor + 1) * x}, hence x = {x}. Putting this into the first gives "
        f"y = {x + y} - {x} = {y}."
    )


def _percentage(random: Random) -> str:
    price, percent = 20 * random.randint(2, 60), 5 * random.randint(1, 12)
    saved = Fraction(price * percent, 100)
    return (
        f"A coat costs {price} euros and is reduced by {percent} %. One per cent of {price} is {price / 100:g}, so "
        f"{percent} per cent is {percent} * {price / 100:g} = {saved}. The new price is {price} - {saved} = "
        f"{price - saved} euros."
    )


def _common_divisor(random: Random) -> str:
    factor = random.randint(2, 15)
    first, second = factor * random.randint(8, 60), factor * random.randint(3, 40)
    steps, a, b = [], max(first, second), min(first, second)
    while b:
        steps.append(f"{a} = {a // b} * {b} + {a % b}")
        a, b = b, a % b
    return (
        f"Compute the greatest common divisor of {first} and {second} by Euclid's algorithm. {'; '.join(steps)}. "
        f"The last remainder that is not zero is {a}, so gcd({first}, {second}) = {a}."
    )


def _fraction_sum(random: Random) -> str:
    a, c = random.randint(1, 7), random.randint(1, 7)
    b, d = random.sample(range(2, 13), 2)
    common = b * d // gcd(b, d)
    top = a * (common // b) + c * (common // d)
    exact = Fraction(top, common)
    end = "" if (exact.numerator, exact.denominator) == (top, common) else f" In lowest terms this is {exact}."
    return (
        f"Add the fractions {a}/{b} and {c}/{d}. The least common denominator is {common}: {a}/{b} = "
        f"{a * (common // b)}/{common} and {c}/{d} = {c * (common // d)}/{common}. The sum is {top}/{common}.{end}"
    )


def _journey(random: Random) -> str:
    speed, hours, further = 10 * random.randint(3, 12), random.randint(2, 6), 10 * random.randint(2, 9)
    return (
        f"A train travels for {hours} hours at {speed} km/h and then another {further} km in one hour. How far "
        f"does it go, and how fast on average? First part: {hours} * {speed} = {hours * speed} km. Altogether "
        f"{hours * speed} + {further} = {hours * speed + further} km in {hours + 1} hours, which is "
        f"{Fraction(hours * speed + further, hours + 1)} km/h."
    )


def _right_triangle(random: Random) -> str:
    m, n = random.choice([(m, n) for m in range(2, 9) for n in range(1, m)])
    a, b, c = m * m - n * n, 2 * m * n, m * m + n * n
    return (
        f"The legs of a right triangle measure {a} cm and {b} cm; what is the length of the hypotenuse? By the "
        f"theorem of Pythagoras its square is {a}^2 + {b}^2 = {a * a} + {b * b} = {c * c}, and the square root of "
        f"{c * c} is {isqrt(c * c)}. The hypotenuse is {c} cm long."
    )


def _arithmetic_series(random: Random) -> str:
    first, step, count = random.randint(1, 20), random.randint(2, 9), random.randint(6, 30)
    last = first + (count - 1) * step
    return (
        f"Sum the first {count} terms of the arithmetic sequence {first}, {first + step}, {first + 2 * step}, ... "
        f"The term number {count} equals {first} + {count - 1} * {step} = {last}. The sum is "
        f"{count} * ({first} + {last}) / 2 = {count * (first + last) // 2}."
    )


def _drawing_balls(random: Random) -> str:
    red, blue = random.randint(2, 12), random.randint(2, 12)
    total = red + blue
    chance = Fraction(red * (red - 1), total * (total - 1))
    return (
        f"An urn holds {red} red and {blue} blue balls, and two are drawn without putting any back. What is the "
        f"probability that both are red? The first is red with probability {red}/{total}, then the second with "
        f"{red - 1}/{total - 1}. Multiplying, P = {red * (red - 1)}/{total * (total - 1)} = {chance}."
    )


def _mean_and_median(random: Random) -> str:
    values = [random.randint(1, 40) for _ in range(5)]
    ordered = ", ".join(map(str, sorted(values)))
    return (
        f"Give the mean and the median of the sample {', '.join(map(str, values))}. The total is {sum(values)}; "
        f"divided by the 5 observations this gives a mean of {sum(values) / 5:g}. In order of size the sample reads "
        f"{ordered}, whose middle value, the median, is {sorted(values)[2]}."
    )


def _compound_interest(random: Random) -> str:
    start, percent = 1000 * random.randint(1, 30), random.choice((2, 4, 5, 10, 20))
    growth = Fraction(100 + percent, 100)
    first, second = start * growth, start * growth**2
    return (
        f"Someone invests {start} dollars at {percent} per cent interest a year, compounded yearly, for two years. "
        f"After one year the balance is {start} * {float(growth):g} = {float(first):g}; after two it is "
        f"{float(first):g} * {float(growth):g} = {float(second):.10g}. "
        f"The interest earned is {float(second - start):.10g} dollars."
    )


def _derivative(random: Random) -> str:
    a, b, c = random.randint(2, 9), random.randint(2, 9), random.randint(1, 20)
    power, at = random.randint(3, 5), random.randint(1, 3)
    slope = a * power * at ** (power - 1) + b
    return (
        f"Differentiate f(x) = {a}x^{power} + {b}x + {c} and evaluate the slope at x = {at}. By the power rule "
        f"f'(x) = {a * power}x^{power - 1} + {b}. Therefore f'({at}) = {a * power} * {at ** (power - 1)} + {b} = "
        f"{slope}."
    )


def _integral(random: Random) -> str:
    a, b, end = 2 * random.randint(1, 6), random.randint(1, 12), random.randint(2, 9)
    return (
        f"Evaluate the definite integral of {a}x + {b} from 0 to {end}. An antiderivative is "
        f"F(x) = {a // 2}x^2 + {b}x. At the upper limit F({end}) = {a // 2} * {end * end} + {b} * {end} = "
        f"{a // 2 * end * end + b * end}, at the lower limit F(0) = 0, so the integral equals "
        f"{a // 2 * end * end + b * end}."
    )


def _committee(random: Random) -> str:
    people, chosen = random.randint(5, 14), random.randint(2, 4)
    product = " * ".join(str(people - at) for at in range(chosen))
    orders = " * ".join(str(chosen - at) for at in range(chosen))
    return (
        f"In how many ways can a committee of {chosen} be chosen from {people} people? Choosing one after another "
        f"gives {product} = {perm(people, chosen)} ordered choices. Each committee was counted {orders} "
        f"= {perm(chosen)} times, so there are {perm(people, chosen)}/{perm(chosen)} = {comb(people, chosen)} of them."
    )


def _power_remainder(random: Random) -> str:
    base, exponent, modulus = random.randint(2, 12), random.randint(4, 7), random.randint(5, 13)
    steps, value = [], base % modulus
    for power in range(2, exponent + 1):
        steps.append(
            f"{base}^{power} is congruent to {value} * {base} = {value * base}, that is {value * base % modulus}"
        )
        value = value * base % modulus
    return (
        f"Which remainder does {base}^{exponent} leave on division by {modulus}? Working modulo {modulus}: "
        f"{'; '.join(steps)}. The remainder is {value}."
    )


def _ratio(random: Random) -> str:
    a, b = random.sample(range(1, 10), 2)
    share = random.randint(3, 40)
    total = (a + b) * share
    return (
        f"Anna and Ben divide {total} marbles in the ratio {a}:{b}. There are {a} + {b} = {a + b} equal parts, each "
        f"of {total} / {a + b} = {share} marbles. Anna receives {a} * {share} = {a * share} and Ben {b} * {share} = "
        f"{b * share}; together that makes {total} again."
    )


def _dot_product(random: Random) -> str:
    u, v = [[random.randint(-6, 9) for _ in range(3)] for _ in range(2)]
    products = [a * b for a, b in zip(u, v, strict=True)]
    total = sum(products)
    verdict = "they are perpendicular" if total == 0 else "they are not perpendicular"
    return (
        f"Are the vectors u = ({u[0]}, {u[1]}, {u[2]}) and v = ({v[0]}, {v[1]}, {v[2]}) perpendicular? Multiply "
        f"component by component: {products[0]}, {products[1]}, {products[2]}. Their sum, the scalar product u.v, is "
        f"{total}, so {verdict}."
    )


def _binary(random: Random) -> str:
    number = random.randint(20, 500)
    steps, rest = [], number
    while rest:
        steps.append(f"{rest} = 2 * {rest // 2} + {rest % 2}")
        rest //= 2
    return (
        f"Write {number} in base two. Halve repeatedly and note the remainders: {', '.join(steps)}. Read from the "
        f"last remainder to the first, the binary numeral is {number:b}."
    )


def _cuboid(random: Random) -> str:
    a, b, c = (random.randint(2, 15) for _ in range(3))
    return (
        f"A box is {a} m long, {b} m wide and {c} m high. Its volume is the product {a} * {b} * {c} = {a * b * c} "
        f"cubic metres. The surface consists of three pairs of faces, 2 * ({a * b} + {b * c} + {a * c}) = "
        f"{2 * (a * b + b * c + a * c)} square metres."
    )


TEMPLATES: dict[str, Template] = {
    "linear equation": _linear_equation,
    "quadratic equation": _quadratic_equation,
    "two equations": _two_equations,
    "percentage": _percentage,
    "common divisor": _common_divisor,
    "fraction sum": _fraction_sum,
    "journey": _journey,
    "right triangle": _right_triangle,
    "arithmetic series": _arithmetic_series,
    "drawing balls": _drawing_balls,
    "mean and median": _mean_and_median,
    "compound interest": _compound_interest,
    "derivative": _derivative,
    "integral": _integral,
    "committee": _committee,
    "remainder of a power": _power_remainder,
    "ratio": _ratio,
    "dot product": _dot_product,
    "binary numeral": _binary,
    "cuboid": _cuboid,
}
