"""How often the judge cries wolf, how soon it finds harm, and who else promotes a bad canary.

    python -m tests.benchmarks.judge [--runs 1000] [--seed 1] [--quick]

A day of 288 looks, five minutes each, of 100 requests of the candidate and 1,900 of stable where nothing else is said.
False alarms and false proofs are counted against alpha and two standard errors, delays at alpha 0.05 against what was
measured when the method was chosen, and a fifth more or one look. It ends with 1 if a line is missed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log, log1p, sin, tau
from typing import TypeVar

import numpy as np

from rollout.core.betting import gain_increments, loss_increments
from rollout.core.judge import Evidence, judge, observe
from rollout.core.marks import marks_of_values
from rollout.core.metric import MetricSpec, Samples, Stage
from tests.core.judging import averaged, counted, latency, rate, score, timed
from tests.support import watched
from tests.support.imitated import Argo, Flagger, Kayenta, Rule, Window
from tests.support.scored import Scoring, found_worse, means_of, pairs_of_users
from tests.support.sticky import Slow, Sticky, failing, retried, varying
from tests.support.watched import (
    NEVER,
    SPREAD,
    Draw,
    Latencies,
    Look,
    Process,
    Table,
    Tally,
    first_crossing,
    harm_process,
    latencies,
    margins,
    proof_process,
    rates,
    scaled,
    shaped,
    tailed,
)

ALPHA, DAY = 0.05, 288
EVEN = scaled(1.0)
Given = TypeVar("Given")


_SCORED: Mapping[str, Scoring] = {
    "pairs of users' scores, five each": pairs_of_users,
    "means of scores of users, five each": means_of(60, 20, asks=5, stay=False),
    "means of scores, one in each look": means_of(300, 100),
    "means of scores, one in each look, 5/95": means_of(950, 50),
    "means of scores, one in each look, 20 users": means_of(60, 20),
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table: what was found, and the most that it may be. None is told and not judged."""

    what: str
    found: float
    most: float | None
    shown: str

    @property
    def passes(self) -> bool:
        """Whether it is within its limit."""
        return self.most is None or self.found <= self.most


@dataclass(frozen=True, slots=True)
class Bench:
    """So many runs of everything, from one seed."""

    runs: int
    generator: np.random.Generator
    looks: int = DAY

    def lines(self) -> Iterator[Line]:
        """Every line, as it is found."""
        yield from self._false_alarms()
        yield from self._of_units()
        yield from self._of_slow_units()
        yield from self._of_users_scores()
        yield from self._false_proofs()
        yield from self._delays()
        yield from self._promoted()
        yield from self._likeness()
        yield from self._cost()

    def _false_alarms(self) -> Iterator[Line]:
        share = Look()
        drift = _day(self.looks)
        steps = _steps(self.looks)
        for what, looks, low in (
            ("i.i.d.", [share] * self.looks, [0.01] * self.looks),
            ("shared drift and outages", [share] * self.looks, [min(0.9, 0.01 * exp(3 * x)) for x in drift]),
            ("weight 5, 25, 50 % under growing load", steps, _climbing(self.looks, 0.01)),
            ("0.1 % errors", [share] * self.looks, [0.001] * self.looks),
            ("5 requests a look", [Look(stable=95, candidate=5)] * self.looks, [0.01] * self.looks),
            ("50/50", [Look(stable=1000, candidate=1000)] * self.looks, [0.01] * self.looks),
        ):
            told = [(look, each, each) for look, each in zip(looks, low, strict=True)]
            crossed = first_crossing(rates(self.generator, self.runs, told, harm_process(self.runs)), ALPHA)
            yield self._share(f"A/A errors, {what}", crossed)
        shifts = [log1p(x) / SPREAD for x in drift]
        climb = [log(each) / SPREAD for each in _climbing(self.looks, 1.0)]
        for what, looks, arms in (
            ("i.i.d.", [share] * self.looks, (EVEN, EVEN)),
            ("shared drift", [share] * self.looks, (watched.drifting(EVEN, shifts),) * 2),
            ("weight 5, 25, 50 % under growing load", steps, (watched.drifting(EVEN, climb),) * 2),
            ("5 requests a look", [Look(stable=95, candidate=5)] * self.looks, (EVEN, EVEN)),
            ("50/50", [Look(stable=1000, candidate=1000)] * self.looks, (EVEN, EVEN)),
        ):
            yield self._share(f"A/A latency P50+P95, {what}", self._slow(looks, arms))
        for spread in (0.4, 0.9):
            for what, look in (("5/95", share), ("50/50", Look(stable=1000, candidate=1000))):
                found = self._slow([look] * self.looks, (EVEN, shaped(spread)), quantiles=(0.95,))
                yield self._share(f"A/A latency P95, equal but of spread {spread}, {what}", found)
        yield self._share("A/A scores of pairs, equal", self._pairs(0.0, loss_increments, 0.0))
        yield self._share("A/A means of scores, 100 against 300 a look", self._means(0.0, "fail"))

    def _of_units(self) -> Iterator[Line]:
        """Users stay in their arm, and a client that fails tries again: the judge is told by how many units it was."""
        spec = rate(tolerance=1.0)
        runs = max(60, self.runs // 2)
        for what, stable, share in (
            ("20 of 2,000 always, others never", failing(20, 0.0), 0.05),
            ("20 of 2,000 always, others 1 %", failing(20, 0.01), 0.05),
            ("20 of 2,000 always, others 1 %, 50/50", failing(20, 0.01), 0.5),
            ("one of 2,000 always, others 1 %", failing(1, 0.01), 0.05),
            ("one of 2,000 always, others never", failing(1, 0.0), 0.05),
            ("each with a chance of his own", varying(0.01, 5), 0.05),
        ):
            users = Sticky(self.generator, runs, stable, share=share)
            found = first_crossing(users.looks(spec, self.looks), ALPHA)
            yield self._share(f"A/A sticky users that fail persistently, {what}", found)
        found = first_crossing(retried(self.generator, runs, spec, self.looks), ALPHA)
        yield self._share("A/A errors, clustered x3 (clients that retry)", found)
        for own, least in ((0.02, 1000), (0.05, 200)):
            harmed = Sticky(self.generator, runs, failing(0, 0.01), failing(0, own))
            found = first_crossing(harmed.looks(spec, self.looks), ALPHA)
            yield _delay(f"errors 1 % -> {own:.0%} of users who ask each look", found, least)
        harmed = Sticky(self.generator, runs, failing(20, 0.0), failing(0, 0.05))
        found = first_crossing(harmed.looks(spec, self.looks), ALPHA)
        share = float((found < NEVER).mean())
        yield Line("5 % of the candidate's beside 20 who always fail: found", share, None, f"{share:.1%}")

    def _of_slow_units(self) -> Iterator[Line]:
        """Users are slow or quick for reasons of their own: 30 % of what the logarithm of a time varies by is theirs.

        What would be said if each answer counted by itself is told, and not judged: it is why heaps are measured.
        """
        runs, spec = max(60, self.runs // 4), latency(tolerance=1.0)
        for what, fields in (
            ("5 answers each, 5/95", {"users": 400, "asks": 5, "return_": False}),
            ("5 answers each, 50/50", {"users": 400, "asks": 5, "return_": False, "share": 0.5}),
            ("one answer in each look, 5/95", {}),
            ("one answer in each look, 50/50", {"share": 0.5}),
        ):
            single, worth = self._of_both(Slow(self.generator, runs, **fields), spec)
            share = float((single < NEVER).mean())
            shown = f"{share:.1%} of {runs}"
            yield Line(f"A/A latency of users, {what}: each answer by itself", share, None, shown)
            yield self._share(f"A/A latency of users, {what}", worth)
        for what, own, least in (("one answer in each look", 0.3, 1550), ("no user like himself", 0.0, 600)):
            _, worth = self._of_both(Slow(self.generator, runs, own=own, ratio=1.1), spec)
            yield _delay(f"latency +10 % of users, {what}", worth, least)

    def _of_users_scores(self) -> Iterator[Line]:
        """The same of scores, and of differences of pairs, where nothing or 30 % of what they vary by is the user's.

        What would be said if each counted by itself is told, and judged only where it is right: without any user.
        """
        runs = max(60, self.runs // 4)
        for what, looks in _SCORED.items():
            for own in (0.3, 0.0):
                single, worth = found_worse(self.generator, runs, looks, own, 0.0, alpha=ALPHA)
                line = f"A/A {what}, {own:.0%} the user's"
                share = float((single < NEVER).mean())
                yield Line(f"{line}: each by itself", share, None, f"{share:.1%} of {runs}")
                yield self._share(line, worth)
        for what, loss, size, least in (
            ("pairs of users' scores, five each", 0.05, 50, (150, 350)),
            ("means of scores of users, five each", 0.03, 100, (300, 600)),
            ("means of scores, one in each look", 0.03, 100, (300, 900)),
        ):
            for own, usual in zip((0.0, 0.3), least, strict=True):
                looks = _SCORED[what]
                single, worth = found_worse(self.generator, runs, looks, own, -loss, alpha=ALPHA)
                for who, found in (("each by itself", single), ("by users", worth)):
                    line = f"{loss:g} lower, {what}, {own:.0%} the user's, {who}"
                    yield _delay(line, found, usual, size=size)

    def _of_both(self, users: Slow, spec: MetricSpec) -> tuple[Tally, Tally]:
        """When harm was found by whoever knows no users, and by whoever does."""
        logs = list(users.looks(spec, self.looks))
        single, worth = (first_crossing(iter([each[place] for each in logs]), ALPHA) for place in (0, 1))
        return single, worth

    def _false_proofs(self) -> Iterator[Line]:
        told = [(Look(), 0.01, 0.0198)] * self.looks
        odds = rates(self.generator, self.runs, told, proof_process(self.runs, 2.0))
        yield self._share("no worse, odds of 2 at odds of 2", first_crossing(odds, ALPHA))
        found = first_crossing(margins(self.generator, self.runs, told, 0.0098), ALPHA)
        yield self._share("no worse by 0.98 points at 0.98 points", found)
        both = [
            np.logaddexp(one, other) - log(2)
            for one, other in zip(
                rates(self.generator, self.runs, told, proof_process(self.runs, 2.0)),
                margins(self.generator, self.runs, told, 0.0098),
                strict=True,
            )
        ]
        yield self._share("no worse, both declared", first_crossing(iter(both), ALPHA))
        for what, arm in (("all", scaled(1.2)), ("only the tail", tailed(1.2))):
            found = self._slow([Look()] * self.looks, (EVEN, arm), accepted=1.2)
            yield self._share(f"no worse, {what} of latency at 1.2 times", found)
        yield self._share("no worse, pairs at 0.02 lower", self._pairs(-0.02, gain_increments, 0.02))
        yield self._share("no worse, means at 0.05 lower", self._means(-0.05, "pass"))

    def _delays(self) -> Iterator[Line]:
        for what, arm, both, alone in (
            ("+10 %", scaled(1.1), 600, 1300),
            ("+25 %", scaled(1.25), 200, 200),
            ("+50 %", scaled(1.5), 100, 100),
            ("+25 % in the tail only", tailed(1.25), 400, 300),
        ):
            for quantiles, told, least in (((0.5, 0.95), "P50+P95", both), ((0.95,), "P95", alone)):
                found = self._slow([Look()] * self.looks, (EVEN, arm), quantiles=quantiles)
                yield _delay(f"latency {told} {what}", found, least)
        for own, least in ((0.02, 1000), (0.05, 200)):
            told_ = [(Look(), 0.01, own)] * self.looks
            found = first_crossing(rates(self.generator, self.runs, told_, harm_process(self.runs)), ALPHA)
            yield _delay(f"errors 1 % -> {own:.0%}", found, least)
        found = self._pairs(0.0, gain_increments, 0.02)
        yield _delay("pairs of scores proven no worse by 0.02", found, 750, size=50)

    def _promoted(self) -> Iterator[Line]:
        runs = max(100, self.runs // 3)
        for what, ratio, errors in (
            ("identical", 1.0, 0.01),
            ("P95 +10 %", 1.1, 0.01),
            ("P95 +20 %", 1.2, 0.01),
            ("P95 +25 %", 1.25, 0.01),
            ("errors 1 -> 2 %", 1.0, 0.02),
            ("errors 1 -> 3 %", 1.0, 0.03),
        ):
            for who, verdicts in self._race(runs, ratio, errors).items():
                promoted = float((verdicts > 0).mean())
                requests = np.median(verdicts[verdicts > 0]) * 100 if promoted else 0
                most = _most_promoted(who, ratio, errors, runs)
                shown = f"{promoted:.1%} promoted" + (f" (median {requests:,.0f})" if promoted else "")
                yield Line(f"{what}: {who}", promoted, most, shown)

    def _race(self, runs: int, ratio: float, errors: float) -> dict[str, Tally]:
        """Of each judge the look in which a run was promoted, minus that in which it was rolled back, 0 if neither."""
        rivals: dict[str, Rule] = {
            "Flagger-like 1.5x, 5 %": Flagger(runs, 1.5, 0.05),
            "Flagger-like 1.25x, 2 %": Flagger(runs, 1.25, 0.02),
            "Argo-like 1.25x, 2 %": Argo(runs, 1.25, 0.02),
            "Kayenta-like": Kayenta(runs),
        }
        ours = {f"ours +{each:.0%}, odds 2": _Ours(runs, 1 + each) for each in (0.1, 0.2)}
        ended: dict[str, Tally] = {name: np.zeros(runs, dtype=np.int64) for name in (*rivals, *ours)}
        arm = scaled(ratio)
        for number in range(1, min(self.looks, 100) + 1):
            stable = EVEN(self.generator, (runs, 1900), number)
            candidate = arm(self.generator, (runs, 100), number)
            bad = self.generator.binomial(1900, 0.01, runs), self.generator.binomial(100, errors, runs)
            decided = {name: each.decide(stable, candidate, bad) for name, each in ours.items()}
            if number <= 40:
                window = _window(stable, candidate, bad)
                decided |= {name: rival.decide(window) for name, rival in rivals.items()}
            for name, said in decided.items():
                ended[name] = np.where(ended[name] == 0, said * number, ended[name])
            if all(each.all() for each in ended.values()):
                break
        return ended

    def _likeness(self) -> Iterator[Line]:
        """What these arrays say is what the judge says."""
        worst = 0.0
        spec = latency(tolerance=1.0, max_ratio=1.2)
        errors = rate(tolerance=1.0, max_odds=2)
        for _ in range(20):
            simulated = Latencies(1, accepted=1.2)
            harm, proof = harm_process(1), proof_process(1, 2.0)
            times, counts = Evidence(), Evidence()
            for number in range(3):
                stable = EVEN(self.generator, (1, 1900), number)
                candidate = scaled(1.15)(self.generator, (1, 100), number)
                bad = self.generator.binomial(1900, 0.01, 1), self.generator.binomial(100, 0.02, 1)
                simulated.add(stable, candidate)
                harm.add(Look(), *bad)
                proof.add(Look(), *bad)
                arms = [np.exp(SPREAD * arm[0].astype(np.float64)).tolist() for arm in (stable, candidate)]
                times = observe(times, spec, timed(spec, *arms))
                counts = observe(counts, errors, counted((1900, int(bad[0][0])), (100, int(bad[1][0]))))
            for evidence, of, pair in (
                (times, spec, (simulated.harm[0], simulated.proof[0])),
                (counts, errors, (harm.log_e[0], proof.log_e[0])),
            ):
                said = judge(of, evidence, stage=Stage.CANARY, alpha=0.01, alpha_advance=ALPHA)
                assert said.e_value is not None
                assert said.proof is not None
                worst = max(worst, abs(log(said.e_value) - pair[0]), abs(log(said.proof) - pair[1]))
        yield Line("largest difference of log evidence to rollout.core.judge", worst, 1e-6, f"{worst:.1e}")

    def _cost(self) -> Iterator[Line]:
        """No two looks are of one size, so that nothing that was worked out before helps."""
        spec, errors = latency(), rate(max_odds=2)
        for what, sizes in (("5/95", (1900, 100)), ("50/50", (1000, 1000))):
            looks = [(sizes[0] - each, sizes[1] + each) for each in range(60)]
            arms = [[self.generator.lognormal(6, 0.6, size).tolist() for size in look] for look in looks]
            marking = _median(lambda pair: marks_of_values(spec, *pair), arms)
            yield Line(f"marking 2,000 times of {what}", marking, None, f"{marking * 1e3:.2f} ms")
            seen = [timed(spec, *pair) for pair in arms]
            yield self._judging(f"judging latency of {what}", spec, seen)
            counts = [
                counted(*((size, int(self.generator.binomial(size, 0.01))) for size in look))
                for look in looks
            ]
            yield self._judging(f"judging errors of {what}", errors, counts)

    def _judging(self, what: str, spec: MetricSpec, seen: Sequence[Samples]) -> Line:
        evidence = Evidence()

        def step(samples: Samples) -> None:
            nonlocal evidence
            evidence = observe(evidence, spec, samples)
            judge(spec, evidence, stage=Stage.CANARY, alpha=0.01, alpha_advance=ALPHA)

        first = _median(step, seen[:30])
        later = _median(step, seen[30:])
        shown = f"{first * 1e3:.2f} ms a look, {later * 1e3:.2f} ms after 30 of them, of CPU"
        return Line(
            what, max(first, later), None, shown + (" (aim 1 ms)" if later <= 1e-3 else " (AIM MISSED)")
        )

    def _slow(
        self,
        looks: Sequence[Look],
        arms: tuple[Draw, Draw],
        *,
        quantiles: Sequence[float] = (0.5, 0.95),
        accepted: float | None = None,
    ) -> Tally:
        seen = Latencies(self.runs, quantiles, accepted=accepted)
        proof = accepted is not None
        return first_crossing(latencies(self.generator, looks, arms, seen, proof=proof), ALPHA)

    def _pairs(
        self, mean: float, grow: Callable[[Sequence[float], float], tuple[float, ...]], null: float
    ) -> Tally:
        """Differences of scores with a spread of 0.22 and a correlation of 0.7, 50 pairs a look, 60 looks."""
        runs = max(50, self.runs // 3)
        process = Process(1.0, (1.0,) * 6, runs)

        def looks() -> Iterator[Table]:
            for _ in range(60):
                drawn = mean + 0.22 * (2 * 0.3) ** 0.5 * self.generator.standard_normal((runs, 50))
                process.sums += [grow(row, null) for row in np.clip(drawn, -1, 1).tolist()]
                yield process.log_e

        return first_crossing(looks(), ALPHA)

    def _means(self, mean: float, outcome: str) -> Tally:
        """Scores between 0 and 1 of users whom nobody paired, as the judge itself says, 60 looks."""
        spec, runs = score(min_samples=100), max(50, self.runs // 5)
        found = np.full(runs, NEVER)
        for run in range(runs):
            evidence = Evidence()
            for number in range(1, 61):
                stable = np.clip(self.generator.normal(0.6, 0.15, 300), 0, 1).tolist()
                own = np.clip(self.generator.normal(0.6 + mean, 0.15, 100), 0, 1).tolist()
                evidence = observe(evidence, spec, averaged(stable, own))
                said = judge(spec, evidence, stage=Stage.CANARY, alpha=ALPHA, alpha_advance=ALPHA)
                if said.outcome == outcome:
                    found[run] = number
                    break
        return found

    def _share(self, what: str, crossed: Tally) -> Line:
        found = float((crossed < NEVER).mean())
        return Line(what, found, _most(len(crossed)), f"{found:.1%} of {len(crossed)}")


class _Ours:
    """The first of harm (half of alpha for each of two metrics) and of proof of both."""

    def __init__(self, runs: int, ratio: float) -> None:
        self._times = Latencies(runs, accepted=ratio)
        self._harm, self._proof = harm_process(runs), proof_process(runs, 2.0)

    def decide(self, stable: Table, candidate: Table, bad: tuple[Tally, Tally]) -> Tally:
        self._times.add(stable, candidate)
        self._harm.add(Look(), *bad)
        self._proof.add(Look(), *bad)
        harmed = np.maximum(self._times.harm, self._harm.log_e) >= log(2 / ALPHA)
        proven = np.minimum(self._times.proof, self._proof.log_e) >= log(1 / ALPHA)
        return np.where(harmed, -1, np.where(proven, 1, 0))


def _most_promoted(who: str, ratio: float, errors: float, runs: int) -> float | None:
    if not who.startswith("ours"):
        return None
    accepted = 1.1 if "10%" in who else 1.2
    beyond = ratio > accepted + 1e-9 or errors > 0.0201
    at_margin = abs(ratio - accepted) < 1e-9 or errors > 0.0195
    if beyond:
        return 0.01
    return _most(runs) if at_margin else None


def _most(runs: int) -> float:
    return float(ALPHA + 2 * (ALPHA * (1 - ALPHA) / runs) ** 0.5)


def _delay(what: str, crossed: Tally, least: float, size: int = 100) -> Line:
    requests = crossed.astype(float) * size
    middle, late = np.quantile(requests, [0.5, 0.9])
    found = float((crossed < NEVER).mean())
    told = [f"{each:,.0f}" if each < NEVER else "never" for each in (middle, late)]
    shown = f"median {told[0]}, P90 {told[1]} requests ({found:.0%} found; measured before {least:,.0f})"
    return Line(what, float(middle), max(1.2 * least, least + size), shown)


def _window(stable: Table, candidate: Table, bad: tuple[Tally, Tally]) -> Window:
    truth = exp(SPREAD * 1.6449)
    p95 = [np.exp(SPREAD * np.quantile(arm, 0.95, axis=1)) / truth for arm in (stable, candidate)]
    return Window(p95[0], p95[1], bad[0] / 1900, bad[1] / 100)


def _day(looks: int) -> list[float]:
    """What load does to both arms: a day's curve, and three outages of 20 minutes."""
    out = {looks // 4, looks // 2, 3 * looks // 4}
    return [
        0.25 * sin(tau * each / looks) + (0.42 if any(0 <= each - one < 4 for one in out) else 0)
        for each in range(looks)
    ]


def _steps(looks: int) -> list[Look]:
    sizes = [2000 * (1 + 0.4 * each / looks) for each in range(looks)]
    shares = [(0.05, 0.25, 0.5)[min(2, 3 * each // looks)] for each in range(looks)]
    return [
        Look(stable=round(size * (1 - share)), candidate=round(size * share))
        for size, share in zip(sizes, shares, strict=True)
    ]


def _climbing(looks: int, start: float) -> list[float]:
    return [start * (1 + 0.4 * each / looks) for each in range(looks)]


def _median(act: Callable[[Given], object], given: Sequence[Given]) -> float:
    """Seconds of a processor, so that what else runs there counts little."""
    taken = []
    for each in given:
        begun = time.process_time()
        act(each)
        taken.append(time.process_time() - begun)
    return statistics.median(taken)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a tenth of the runs")
    asked = parser.parse_args()
    runs = max(60, asked.runs // 10) if asked.quick else asked.runs
    missed = 0
    for line in Bench(runs, np.random.default_rng(asked.seed)).lines():
        missed += not line.passes
        most = "" if line.most is None else f"at most {line.most:.4g}"
        mark = "    " if line.most is None else "ok  " if line.passes else "MISS"
        print(f"{mark} {line.what:<62} {line.shown:<64} {most}", flush=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
