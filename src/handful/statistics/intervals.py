"""How far a figure can be believed: intervals and tests, in plain NumPy.

SciPy has some of these; loading it takes half a second.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.statistics.metrics import Floats, Integers

# Confidences that are this near the truth are near enough.
_TOLD_WITHIN = 0.05

# Whether a photo was classified correctly: (N,), or (S, N) with a row for each training.
Outcomes = NDArray[np.bool_] | NDArray[np.floating[Any]]


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Range in which the true rate lies, given how often something succeeded.

    Unlike p +- 1.96 * sqrt(p(1-p)/n) it stays inside [0, 1] and says something useful for 20 of
    20 and for small numbers.

    Args:
        successes: Number of successes, 0 to `trials`.
        trials: Number of trials; with 0 nothing is known and the range is (0, 1).
        confidence: How often such a range contains the true rate, in (0, 1).

    Returns:
        Lower and upper end, fractions in [0, 1] with lower <= successes / trials <= upper.

    Raises:
        ValueError: When successes are negative or more than the trials, or confidence is not
            in (0, 1).

    Source:
        E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
        JASA 22 (1927): (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n).
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"successes is {successes}; expected 0 to trials, which is {trials}.")
    _check_confidence(confidence)
    if trials == 0:
        return 0.0, 1.0
    return _wilson_ends(successes / trials, trials, NormalDist().inv_cdf(0.5 + confidence / 2))


def highest_rate(errors: int, trials: int, level: float) -> float:
    """Largest error rate that so few errors do not speak against.

    Args:
        errors: Number of errors, 0 to `trials`.
        trials: Number of trials.
        level: How often it may be below the true rate, in (0, 1).

    Returns:
        In (0, 1]: the rate at which `errors` or fewer have the chance `level`; 1 where all are
        errors.

    Source:
        C. J. Clopper & E. S. Pearson, "The use of confidence or fiducial limits illustrated in
        the case of the binomial", Biometrika 26 (1934).
    """
    if errors >= trials:
        return 1.0
    # Logarithms of trials over k, for k up to errors.
    numbers = np.arange(1, errors + 1)
    ways = np.concatenate([[0.0], np.cumsum(np.log((trials + 1 - numbers) / numbers))])
    counts = np.arange(errors + 1)
    low, high = errors / trials, 1.0
    for _ in range(60):
        rate = (low + high) / 2
        if rate in (low, high):
            break
        logs = ways + counts * math.log(rate) + (trials - counts) * math.log1p(-rate)
        low, high = (rate, high) if np.exp(logs).sum() > level else (low, rate)
    return high


def allowed_errors(rate: float, level: float, trials: int) -> NDArray[np.int64]:
    """Most errors that still show an error rate below `rate`, for each number of trials.

    Args:
        rate: The error rate, in (0, 1).
        level: How often a classifier that errs as often as that may pass, in (0, 1).
        trials: Largest number of trials.

    Returns:
        (trials + 1,) for 0, 1, ... trials: the most errors for which `highest_rate` is no more
        than the rate; -1 where even none would not do.
    """
    allowed = np.empty(trials + 1, np.int64)
    odds = rate / (1 - rate)
    # Chance of exactly, and of up to, the first number of errors that is too many.
    errors, exactly, up_to = 0, 1.0, 1.0
    for number in range(trials + 1):
        if number:
            up_to -= rate * exactly
            exactly *= (1 - rate) * number / (number - errors)
        while up_to <= level and errors <= number:
            errors += 1
            exactly *= (number - errors + 1) / errors * odds
            up_to += exactly
        allowed[number] = errors - 1
    return allowed


def mcnemar_test(only_first: int, only_second: int) -> float:
    """Chance of such an uneven count, or a more uneven one, between two equally good classifiers.

    Photos that both name right, or both wrong, say nothing about which is better; each of the
    others is a coin toss if they are equally good.

    Args:
        only_first: Photos that only the first classifier classified correctly.
        only_second: Photos that only the second one classified correctly.

    Returns:
        Two-sided p-value in [0, 1]; 1 when no photo decides. It is exact, computed in whole
        numbers, and 0 only below what a float can hold.

    Raises:
        ValueError: When a count is negative.

    Source:
        Q. McNemar, "Note on the sampling error of the difference between correlated proportions
        or percentages", Psychometrika 12 (1947), in its exact binomial form.
    """
    if min(only_first, only_second) < 0:
        raise ValueError(
            f"only_first is {only_first} and only_second {only_second}; expected counts of photos."
        )
    tosses = only_first + only_second
    term = total = 1
    for heads in range(min(only_first, only_second)):
        term = term * (tosses - heads) // (heads + 1)
        total += term
    # Dividing two integers rounds once, however large they are.
    return min(1.0, total / 2 ** (tosses - 1)) if tosses else 1.0


def group_shares(groups: Integers | None, num_photos: int) -> NDArray[np.float64]:
    """Weigh photos so that each group of near-duplicates counts as one.

    Args:
        groups: (N,) photos with equal numbers are near-duplicates; None: each on its own.
        num_photos: N.

    Returns:
        (N,) 1 / photos in a photo's group.
    """
    if groups is None:
        return np.ones(num_photos)
    _, dense, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return np.asarray(1 / sizes[dense], np.float64)


@dataclass(frozen=True)
class CalibrationError:
    """How far confidence is from the share that is right.

    Args:
        error: Root of the mean squared gap, without what chance adds; a fraction.
        interval: Its 95 % interval, fractions.
        num_photos: Photos that it was measured on.
    """

    error: float
    interval: tuple[float, float]
    num_photos: int

    @property
    def is_told(self) -> bool:
        """Whether the photos can tell it: they speak against 0, or against 5 points."""
        return self.interval[0] > 0 or self.interval[1] <= _TOLD_WITHIN


def calibration_error(
    confidence: Floats, correct: Outcomes, groups: Integers | None = None
) -> CalibrationError:
    """Measure how honest confidences are, without the bias of binning few photos.

    Honest probabilities too show gaps of several points, by chance, in bins of few photos.

    Args:
        confidence: (N,) probability of the named class.
        correct: (N,) whether it was the right one.
        groups: (N,) photos with equal numbers are near-duplicates, or one photo answered more
            than once; None: each on its own.

    Returns:
        The error and its interval.

    Source:
        Bins hold equally many photos (20 groups or more, 15 bins at most). A squared gap is the
        mean product of the gaps of two photos of different groups, so that a photo's own chance is
        not in it (as Kumar, Liang, Ma 2019 take the variance off). The interval holds the gaps,
        equal in all bins, for which so large and so small a sum of squares has a chance of 2.5 % or
        more, each bin's mean being normal.
    """
    gaps = np.asarray(correct, np.float64) - confidence
    _, dense = np.unique(np.arange(len(gaps)) if groups is None else groups, return_inverse=True)
    num_groups = int(dense.max()) + 1
    num_bins = min(max(num_groups // 20, 1), 15)
    squared, weights, means, variances = 0.0, [], [], []
    for rows in np.array_split(np.argsort(confidence, kind="stable"), num_bins):
        sums, sizes = np.bincount(dense[rows], gaps[rows]), np.bincount(dense[rows])
        pairs = len(rows) ** 2 - int((sizes**2).sum())
        weight, mean = len(rows) / len(gaps), float(gaps[rows].mean())
        if pairs:
            squared += weight * float(sums.sum() ** 2 - (sums**2).sum()) / pairs
        # Few photos are all right, or nearly: then their confidence tells their spread.
        own = np.sqrt(np.maximum(confidence[rows] * (1 - confidence[rows]), 0))
        expected = float((np.bincount(dense[rows], own) ** 2).sum())
        found = float(((sums - mean * sizes) ** 2).sum())
        weights.append(weight)
        means.append(mean)
        variances.append(max(found, expected) / len(rows) ** 2)
    parts, total = np.array(weights), float((np.array(weights) * np.square(means)).sum())
    noise = np.random.default_rng(0).normal(size=(2000, num_bins)) * np.sqrt(variances)

    def share_below(gap: float) -> float:
        return float((((noise + gap) ** 2) @ parts <= total).mean())

    low = _where(lambda gap: share_below(gap) < 0.975)
    high = _where(lambda gap: share_below(gap) <= 0.025)
    error = min(max(math.sqrt(max(squared, 0.0)), low), high)
    return CalibrationError(error, (low, high), len(gaps))


def _where(holds: Callable[[float], bool]) -> float:
    """Least number in [0, 1] from which on something holds."""
    if holds(0.0):
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def design_effect(values: Floats, groups: Integers | None) -> float:
    """How many photos of near-duplicates tell as much as one photo on its own.

    Args:
        values: (N,) a number for each photo, such as whether it was classified correctly.
        groups: (N,) photos with equal numbers are near-duplicates; None: each on its own.

    Returns:
        1 or more: N photos count as N divided by it. All alike within groups of five it is 5.

    Source:
        Kish, Survey Sampling (1965): 1 + rho (sum(m^2) / N - 1) for groups of m photos. rho, the
        correlation within groups, is that of all pairs in one group. Few groups differ from the
        rest where most photos are classified correctly, and these few estimate it badly: it is
        drawn
        towards 1 by the weight of one such group. `benchmarks/trust_coverage.py` has what that
        does to intervals.
    """
    if groups is None or len(values) < 2:
        return 1.0
    _, dense, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    num_pairs = float((sizes.astype(np.float64) ** 2 - sizes).sum())
    if not num_pairs:
        return 1.0
    off = np.asarray(values, np.float64) - np.mean(values)
    squares = float((off**2).sum())
    together = float((np.bincount(dense, off) ** 2).sum()) - squares
    rho = together / num_pairs / (squares / len(off)) if squares else 1.0
    # Values that are not the most frequent one, in groups: what rho is told by.
    frequent = np.unique(values, return_counts=True)[1].max()
    telling = len(sizes) * float(1 - frequent / len(off))
    rho = min(max((telling * rho + 1) / (telling + 1), 0.0), 1.0)
    return float(1 + rho * num_pairs / len(off))


def accuracy_interval(
    correct: Outcomes, confidence: float = 0.95, *, groups: Integers | None = None
) -> tuple[float, float]:
    """Range in which a way of training's true accuracy lies, from one or more trainings.

    Args:
        correct: (S, N) whether training s named photo i right, or (N,) of one training.
        confidence: How often such a range contains the truth, in (0, 1).
        groups: (N,) photos with equal numbers are near-duplicates; None: each on its own.

    Returns:
        Lower and upper end, fractions in [0, 1] around the mean accuracy. Of one training it is
        Wilson's, which allows for the luck of the photos, of N / `design_effect` photos; of
        several trainings it allows for the luck of training as well.

    Raises:
        ValueError: When there is no photo or no training, or confidence is not in (0, 1).

    Source:
        Wilson's interval for the number of photos n, N or fewer, with which p(1-p)/n is
        p(1-p)/N + s^2/S, where s^2 is the variance of the accuracy over trainings: an effective
        sample size, as for surveys (Korn & Graubard, Survey Methodology 24, 1998). Student's t
        takes the normal's place, see `paired_difference_interval`.
    """
    right = _as_trainings("correct", correct)
    _check_confidence(confidence)
    seeds, num_photos = right.shape
    rate = float(right.mean())
    photos = num_photos / design_effect(right.mean(axis=0), groups)
    if seeds == 1:
        return _wilson_ends(rate, photos, NormalDist().inv_cdf(0.5 + confidence / 2))
    spread = _Spread.of_photos(max(rate * (1 - rate), 0.0) / photos, num_photos - 1)
    spread = spread.plus_seeds(right)
    alike = rate * (1 - rate) / spread.variance if spread.variance else photos
    return _wilson_ends(rate, alike, _student_quantile(confidence, spread.df))


def photos_to_halve(
    correct: Outcomes, confidence: float = 0.95, *, groups: Integers | None = None
) -> int:
    """How many more photos would make the `accuracy_interval` of one training half as wide.

    Args:
        correct: (N,) whether each photo was classified correctly.
        confidence: As in `accuracy_interval`.
        groups: (N,) photos with equal numbers are near-duplicates; None: each on its own.

    Returns:
        Photos, 1 or more, all different from each other and from those that there are, with as
        many of them right. It is 3 N where half are right, for the width goes with 1 / sqrt(N),
        and falls towards N where all are: there it goes with 1 / N.

    Raises:
        ValueError: As `accuracy_interval`.
    """
    right = _as_trainings("correct", correct)
    _check_confidence(confidence)
    rate, z = float(right.mean()), NormalDist().inv_cdf(0.5 + confidence / 2)
    photos = right.shape[1] / design_effect(right.mean(axis=0), groups)

    def width(number: float) -> float:
        low, high = _wilson_ends(rate, number, z)
        return high - low

    # Wilson's interval of 4 n + 3 z^2 photos is never wider than half of that of n.
    most = 3 * (photos + z * z) + 1
    return _first_number(lambda more: width(photos + more) <= width(photos) / 2, 1, most) or 1


def paired_difference_interval(
    first: Outcomes,
    second: Outcomes,
    confidence: float = 0.95,
    *,
    groups: Integers | None = None,
) -> tuple[float, float]:
    """Range of the true difference of two accuracies measured on the same photos.

    Being paired it is narrower than two separate intervals suggest: photos that are hard for
    both cancel out.

    Args:
        first: (S, N) whether the first way of training, in its training s, named photo i right;
            or (N,) of one training.
        second: (T, N) or (N,) the same of the second, on the same photos in the same order.
        confidence: How often such a range contains the truth, in (0, 1).
        groups: (N,) photos with equal numbers are near-duplicates; None: each on its own.

    Returns:
        Lower and upper end of first minus second, fractions in [-1, 1]. Where both were trained
        once it speaks of these two classifiers, and not of what another seed would give.

    Raises:
        ValueError: When the photos' numbers differ or are 0, or confidence is not in (0, 1).

    Source:
        D. G. Bonett & R. M. Price, "Adjusted Wald confidence interval for a difference of
        binomial proportions based on paired data", Journal of Educational and Behavioral
        Statistics 37 (2012): two photos are added, one that only the first classified correctly and
        one that only the second did. With d_i the difference of photo i's share of trainings that
        named it right, and sums over the N + 2 photos,

            D = sum(d_i) / (N + 2)
            V = (sum(d_i^2) / (N + 2) - D^2) / (N + 2) + s_1^2 / S + s_2^2 / T
            D +- t sqrt(V)

        where s^2 is the variance of a way's accuracies over its trainings (S - 1 in the divisor;
        0 for one training). Without it this is their interval, t being the normal's 1.96. With it
        t is Student's, of Welch and Satterthwaite's degrees of freedom: three trainings tell
        little about the spread of all. The trainings' chance disagreement on single photos is in
        both parts of V, which makes the range a little too wide rather than too narrow. With
        groups N and the sums are divided by the `design_effect` of d first.
    """
    _check_confidence(confidence)
    difference, spread = _paired_spread(first, second, groups)
    reach = _student_quantile(confidence, spread.df) * math.sqrt(spread.variance)
    return max(difference - reach, -1.0), min(difference + reach, 1.0)


def paired_difference_test(
    first: Outcomes, second: Outcomes, *, groups: Integers | None = None
) -> float:
    """Chance of such a difference, or a larger one, between two equally good ways of training.

    Args:
        first: (S, N) whether training s of the first named photo i right; or (N,).
        second: (T, N) or (N,) the same of the second, on the same photos in the same order.
        groups: (N,) photos with equal numbers are near-duplicates; None: each on its own.

    Returns:
        Two-sided p-value in [0, 1]: `mcnemar_test` for one training each, with a coin toss for
        each group, which turns all of its photos; with more, Student's t of the numbers behind
        `paired_difference_interval`, below 0.05 where its range leaves 0 out.

    Raises:
        ValueError: When the photos' numbers differ or are 0.
    """
    ours, theirs = _as_pair(first, second)
    if len(ours) == len(theirs) == 1:
        return _tossed_by_groups((ours - theirs)[0].astype(np.int64), groups)
    difference, spread = _paired_spread(first, second, groups)
    return _student_tails(abs(difference) / math.sqrt(spread.variance), spread.df)


def _tossed_by_groups(differences: NDArray[np.int64], groups: Integers | None) -> float:
    """McNemar's exact test where a coin turns the differences (N,) of a group all at once."""
    if groups is None:
        groups = np.arange(len(differences))
    _, dense = np.unique(groups, return_inverse=True)
    ahead = np.rint(np.bincount(dense, differences)).astype(np.int64)
    weights = np.abs(ahead[ahead != 0])
    if (weights <= 1).all():
        return mcnemar_test(int((ahead > 0).sum()), int((ahead < 0).sum()))
    # Chances of what the groups that speak for the first add up to.
    chances = np.zeros(int(weights.sum()) + 1)
    chances[0] = 1.0
    for weight in weights.tolist():
        chances[weight:] = (chances[weight:] + chances[:-weight]) / 2
        chances[:weight] /= 2
    fewer = min(int(ahead[ahead > 0].sum()), -int(ahead[ahead < 0].sum()))
    return min(1.0, 2 * float(chances[: fewer + 1].sum()))


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """Raise p-values for their number: of twenty tests of nothing, one is below 0.05.

    Args:
        p_values: (M,) in [0, 1], in any order.

    Returns:
        (M,) in the same order, each its own or larger. Calling real what stays below 0.05 makes
        one false claim or more in at most one of twenty such families.

    Source:
        S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal
        of Statistics 6 (1979): the k-th smallest times M - k + 1, none below the one before it.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, largest = [0.0] * len(p_values), 0.0
    for done, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - done) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def resampled_interval(
    values: Floats, num_fit: float, num_held_out: float, confidence: float = 0.95
) -> tuple[float, float]:
    """Range of a score's true mean over training sets, from scores on J resamples of one set.

    The J scores share most of their photos, so that the usual interval, of variance s^2 / J, is
    far too narrow, and ever more so with more resamples.

    Args:
        values: (J,) scores on held-out photos, J of 2 or more.
        num_fit: Photos that each was fitted to.
        num_held_out: Photos that each was scored on.
        confidence: How often such a range should contain the truth, in (0, 1).

    Returns:
        Lower and upper end around the mean of the values; no wider than a point when they are all
        equal, which is no certainty.

    Raises:
        ValueError: When there are fewer than two values, a number of photos is not above 0, or
            confidence is not in (0, 1).

    Source:
        C. Nadeau & Y. Bengio, "Inference for the Generalization Error", Machine Learning 52
        (2003): mean +- t sqrt((1/J + n_2/n_1) s^2), Student's t of J - 1 degrees of freedom, with
        n_1 photos to fit and n_2 held out. It rests on the guess that two scores correlate by
        n_2 / (n_1 + n_2): an approximation, for random splits; R. R. Bouckaert & E. Frank
        (PAKDD 2004) use it for repeated cross-validation too. No estimate from one
        cross-validation is unbiased (Y. Bengio & Y. Grandvalet, JMLR 5, 2004).
    """
    _check_confidence(confidence)
    if len(values) < 2:
        raise ValueError(f"There are {len(values)} values; expected those of 2 or more resamples.")
    if not (num_fit > 0 and num_held_out > 0):
        raise ValueError(
            f"num_fit is {num_fit} and num_held_out {num_held_out}; expected photos in both."
        )
    if np.ptp(values) == 0:
        # Their mean may differ from them by rounding.
        return float(values[0]), float(values[0])
    variance = (1 / len(values) + num_held_out / num_fit) * float(np.var(values, ddof=1))
    mean = float(np.mean(values))
    reach = _student_quantile(confidence, len(values) - 1) * math.sqrt(variance)
    return mean - reach, mean + reach


def photos_for_difference(
    difference: float,
    discordant_share: float,
    *,
    confidence: float = 0.95,
    power: float = 0.8,
    seed_variance: float = 0.0,
    seed_freedom: float = math.inf,
) -> int | None:
    """Photos it takes to tell two classifiers apart, both scored on the same ones.

    Args:
        difference: Difference of their true accuracies, a fraction in (0, 1].
        discordant_share: Share of photos that only one of them names right, in
            [difference, 1]; of means over several trainings, the mean squared difference.
        confidence: 1 minus the p-value below which they count as told apart.
        power: How often so many photos should tell them apart, in (0, 1).
        seed_variance: Variance of the difference by the luck of training, which no photos lessen.
        seed_freedom: Degrees of freedom of that variance; infinite where it is known.

    Returns:
        Photos, 1 or more; None where training's luck hides the difference whatever their number.

    Raises:
        ValueError: When a share is out of its range.

    Source:
        R. J. Connor, "Sample size for testing differences in proportions for the paired-sample
        design", Biometrics 43 (1987), for McNemar's test: with the difference d and the
        discordant share p, n = (z_a sqrt(p) + z_b sqrt(p - d^2))^2 / d^2. The variance of
        training is taken from d^2, as what photos must show beyond it; where it is estimated
        from few trainings, z_a gives way to Student's t, as in `paired_difference_test`.
    """
    _check_confidence(confidence)
    if not 0.0 < power < 1.0:
        raise ValueError(f"power is {power}; expected a share in (0, 1), such as 0.8.")
    if not 0.0 < difference <= 1.0:
        raise ValueError(f"difference is {difference}; expected a share above 0, up to 1.")
    least = difference**2
    if not least * (1 - 1e-9) <= discordant_share <= 1.0 + 1e-9:
        raise ValueError(
            f"discordant_share is {discordant_share}; expected {least:g} to 1, for two accuracies "
            f"that differ by {difference}."
        )
    z_alpha = NormalDist().inv_cdf(0.5 + confidence / 2)
    z_beta = NormalDist().inv_cdf(power)
    room = least - (z_alpha + z_beta) ** 2 * seed_variance
    if room <= 0:
        return None
    spread = z_alpha * math.sqrt(discordant_share)
    spread += z_beta * math.sqrt(max(discordant_share - least, 0.0))
    # A hair less than a whole number must not become the next one.
    photos = max(1, math.ceil(spread**2 / room - 1e-9))
    if not seed_variance or math.isinf(seed_freedom):
        return photos
    seeds = _Spread(seed_variance, seed_freedom)

    def shows(number: int) -> bool:
        spread = _Spread.of_photos(discordant_share / number, number - 1).plus(seeds)
        reach = _student_quantile(confidence, spread.df) * math.sqrt(spread.variance)
        return reach + z_beta * math.sqrt(max(spread.variance - least / number, 0)) <= difference

    # Where photos add a thousandth to the seeds' variance, more of them change nothing.
    return _first_number(shows, photos, 1000 * discordant_share / seed_variance)


def independent_discordance(error_rate: float, difference: float) -> float:
    """Share of photos that only one of two classifiers names right, if they err independently.

    Classifiers of the same photos mostly fail on the same hard ones; then the share is smaller,
    and fewer photos tell them apart. So this is the cautious assumption.

    Args:
        error_rate: Mean error rate of the two, in [0, 1].
        difference: Difference of their accuracies, in [0, 1].

    Returns:
        In [difference, 1]. The mean is moved where the two rates would leave [0, 1].

    Source:
        R. J. Connor, Biometrics 43 (1987), who advises the share under independence as its upper
        bound where the two correlate positively.
    """
    low = min(max(error_rate - difference / 2, 0.0), 1.0 - difference)
    high = low + difference
    return low * (1 - high) + (1 - low) * high


def smallest_difference(num_photos: int, error_rate: float) -> float:
    """Smallest difference of two accuracies that so many photos show, 4 times in 5.

    Args:
        num_photos: Photos that both classifiers are scored on.
        error_rate: Their mean error rate, in [0, 1].

    Returns:
        A fraction in (0, 1]: where `photos_for_difference` under `independent_discordance` is
        the number of photos; 1 where they are too few for any.
    """
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        share = independent_discordance(error_rate, middle)
        enough = (photos_for_difference(middle, share) or math.inf) <= num_photos
        low, high = (low, middle) if enough else (middle, high)
    return high


def discordant_share(first: Outcomes, second: Outcomes) -> float:
    """Share of photos that only one of two ways of training names right.

    Args:
        first: (S, N) whether training s of the first named photo i right; or (N,).
        second: (T, N) or (N,) the same of the second, on the same photos in the same order.

    Returns:
        In (0, 1]: with one photo added for each side, as in `paired_difference_interval`, so that
        few photos without any such do not promise that there are none. Of several trainings, the
        mean squared difference of a photo's shares.

    Raises:
        ValueError: When the photos' numbers differ or are 0.
    """
    ours, theirs = _as_pair(first, second)
    squares = (ours.mean(axis=0) - theirs.mean(axis=0)) ** 2
    return (float(squares.sum()) + 2) / (len(squares) + 2)


def seed_variance(first: Outcomes, second: Outcomes) -> float:
    """Variance of the difference of two mean accuracies by the luck of their trainings.

    Args:
        first: (S, N) whether training s of the first named photo i right; or (N,).
        second: (T, N) or (N,) the same of the second, on the same photos in the same order.

    Returns:
        0 or more; a way that was trained once adds 0, for its luck is not known.

    Raises:
        ValueError: When the photos' numbers differ or are 0.
    """
    return _Spread(0.0, math.inf).plus_seeds(*_as_pair(first, second)).variance


def seed_freedom(first: Outcomes, second: Outcomes) -> float:
    """Degrees of freedom of `seed_variance`, by Welch and Satterthwaite.

    Args:
        first: (S, N) whether training s of the first named photo i right; or (N,).
        second: (T, N) or (N,) the same of the second, on the same photos in the same order.

    Returns:
        1 or more; infinite where that variance is 0.

    Raises:
        ValueError: When the photos' numbers differ or are 0.
    """
    return _Spread(0.0, math.inf).plus_seeds(*_as_pair(first, second)).df


def _first_number(holds: Callable[[int], bool], least: int, most: float) -> int | None:
    """Smallest number from `least` on that holds; None where none does by `most`."""
    if holds(least):
        return least
    while least <= most:
        failed, least = least, math.ceil(1.2 * least)
        if holds(least):
            while least - failed > 1:
                middle = (failed + least) // 2
                failed, least = (failed, middle) if holds(middle) else (middle, least)
            return least
    return None


@dataclass(frozen=True)
class _Spread:
    """A variance that is a sum of estimated parts, and its degrees of freedom."""

    variance: float
    df: float

    @staticmethod
    def of_photos(variance: float, df: int) -> "_Spread":
        # Of photos alone the interval's source takes the normal distribution.
        return _Spread(variance, math.inf if df < 1 else df)

    def plus_seeds(self, *trainings: NDArray[np.float64]) -> "_Spread":
        """Add the variance of each mean accuracy over its trainings."""
        parts = [
            _Spread(float(right.mean(axis=1).var(ddof=1)) / len(right), len(right) - 1)
            for right in trainings
            if len(right) > 1
        ]
        return self.plus(*parts)

    def plus(self, *others: "_Spread") -> "_Spread":
        """Add independent parts, by Welch and Satterthwaite."""
        parts = (self, *others)
        total = sum(part.variance for part in parts)
        noise = sum(part.variance**2 / part.df for part in parts)
        return _Spread(total, total**2 / noise if noise and others else math.inf)


def _paired_spread(
    first: Outcomes, second: Outcomes, groups: Integers | None
) -> tuple[float, _Spread]:
    """Difference D and its variance, in the terms of `paired_difference_interval`."""
    ours, theirs = _as_pair(first, second)
    differences = ours.mean(axis=0) - theirs.mean(axis=0)
    alike = design_effect(differences, groups)
    photos = len(differences) / alike + 2
    difference = float(differences.sum()) / alike / photos
    variance = (float((differences**2).sum()) / alike + 2) / photos - difference**2
    spread = _Spread.of_photos(variance / photos, len(differences) + 1)
    return difference, spread.plus_seeds(ours, theirs)


def _as_pair(first: Outcomes, second: Outcomes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    ours, theirs = _as_trainings("first", first), _as_trainings("second", second)
    if ours.shape[1] != theirs.shape[1]:
        raise ValueError(
            f"first has {ours.shape[1]} photos and second {theirs.shape[1]}; "
            "expected the same photos."
        )
    return ours, theirs


def _as_trainings(name: str, outcomes: Outcomes) -> NDArray[np.float64]:
    """(S, N) of 0 and 1."""
    given: NDArray[np.float64] = np.atleast_2d(np.asarray(outcomes, np.float64))
    if given.ndim != 2 or given.size == 0:
        raise ValueError(
            f"{name} has shape {np.shape(outcomes)}; "
            "expected a row for each training, a column for each photo."
        )
    if not np.isin(given, (0, 1)).all():
        raise ValueError(f"{name} holds other values than right (1) and wrong (0).")
    return given


def _check_confidence(confidence: float) -> None:
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence is {confidence}; expected a share in (0, 1), such as 0.95.")


def _wilson_ends(rate: float, trials: float, z: float) -> tuple[float, float]:
    """Wilson's interval; the number of trials need not be whole."""
    center = rate + z * z / (2 * trials)
    spread = z * math.sqrt(rate * (1 - rate) / trials + (z / (2 * trials)) ** 2)
    scale = 1 + z * z / trials
    # Rounding must not push the range's ends past the rate, nor past 0 or 1.
    low = 0.0 if rate == 0 else min((center - spread) / scale, rate)
    high = 1.0 if rate == 1 else max((center + spread) / scale, rate)
    return max(low, 0.0), min(high, 1.0)


def _student_tails(t: float, df: float) -> float:
    """Chance that Student's t is farther from 0 than `t`, 0 or more; freedom 1 or more."""
    if math.isinf(df):
        return math.erfc(t / math.sqrt(2))
    # With t = sqrt(freedom) tan(angle) the density is a power of the cosine.
    start = math.atan(t / math.sqrt(df))
    end = min(math.pi / 2, start + 12 / math.sqrt(df))
    nodes, weights = _gauss_legendre()
    angles = start + (end - start) * (nodes + 1) / 2
    area = float((weights * np.cos(angles) ** (df - 1)).sum()) * (end - start) / 2
    scale = math.lgamma((df + 1) / 2) - math.lgamma(df / 2)
    return min(1.0, 2 * area * math.exp(scale) / math.sqrt(math.pi))


@cache
def _gauss_legendre() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    nodes, weights = np.polynomial.legendre.leggauss(200)
    return nodes, weights


def _student_quantile(confidence: float, df: float) -> float:
    """The t that a share of `confidence` lies within."""
    if math.isinf(df):
        return NormalDist().inv_cdf(0.5 + confidence / 2)
    low, high = 0.0, 1.0
    while _student_tails(high, df) > 1 - confidence:
        high *= 2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_tails(middle, df) > 1 - confidence else (low, middle)
    return high
