"""What happens to a server and its clients in a year: by chance, from a seed.

This module knows nothing of gqlwire, so that two versions of it live through the same year.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from random import Random

MINUTE, HOUR, DAY, WEEK = 60.0, 3_600.0, 86_400.0, 604_800.0

DEPLOYS_EVERY = WEEK
TOKENS_LAST = WEEK
NETWORK_LASTS = WEEK
OUTAGES, FLAPPINGS, ROTATIONS = 6, 4, 4
# How attempts fail while there is no server, and how often.
DOWN = {"503": 8, "refused": 6, "1012": 2, "404": 1, "429": 1}


@dataclass(frozen=True)
class Spell:
    """A time in which the server is not well.

    `code`: the close code that ends all connections at its begin. `attempts`: how attempts fail in
    it, or "flapping". `refuses_until`: until when subscriptions are refused, after its end.
    """

    begin: float
    end: float
    code: int
    attempts: str
    refuses_until: float


class World:
    """The server's year, which is the same for all clients."""

    def __init__(self, seed: int, days: float) -> None:
        chance = Random(seed)
        self.end = days * DAY
        share = days / 365
        spells = [
            self._deploy(chance, at) for at in times(chance, self.end / DEPLOYS_EVERY, self.end)
        ]
        spells += [self._outage(chance, at) for at in times(chance, OUTAGES * share, self.end)]
        spells += [
            Spell(at, at + 30 * MINUTE, 1011, "flapping", at)
            for at in times(chance, FLAPPINGS * share, self.end)
        ]
        spells += [
            Spell(at, at + chance.uniform(2, 5) * MINUTE, 4401, "4403", at)
            for at in times(chance, ROTATIONS * share, self.end)
        ]
        self.spells: list[Spell] = []
        for spell in sorted(spells, key=lambda each: each.begin):
            if not self.spells or spell.begin > self.spells[-1].end:
                self.spells.append(spell)
        self._begins = [spell.begin for spell in self.spells]

    @staticmethod
    def _deploy(chance: Random, at: float) -> Spell:
        end = at + chance.uniform(5, 40)
        refuses = chance.uniform(0, 2 * MINUTE) if chance.random() < 0.5 else 0.0
        return Spell(at, end, chance.choice([1001, 1012, 1006]), draw_way(chance), end + refuses)

    @staticmethod
    def _outage(chance: Random, at: float) -> Spell:
        end = at + min(2 * HOUR, 5 * MINUTE * chance.lognormvariate(0, 1))
        refuses = 2 * MINUTE * chance.lognormvariate(0, 1) if chance.random() < 0.5 else 0.0
        return Spell(at, end, 1006, draw_way(chance), end + min(refuses, 10 * MINUTE))

    def spell_at(self, time: float) -> Spell | None:
        """Return the last spell that has begun, which may be over."""
        place = bisect_right(self._begins, time)
        return self.spells[place - 1] if place else None

    def next_begin(self, time: float) -> tuple[float, int]:
        """Return when the next spell begins, and the close code that it begins with."""
        place = bisect_right(self._begins, time)
        if place == len(self.spells):
            return self.end * 2, 1000
        return self.spells[place].begin, self.spells[place].code

    def refuses_subscriptions(self, time: float) -> bool:
        spell = self.spell_at(time)
        return spell is not None and spell.end <= time < spell.refuses_until


class Luck:
    """What happens to the connections of one client alone."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self.chance = Random(seed)
        self._drop_at = self.chance.expovariate(1 / NETWORK_LASTS)
        self._expires_at = self.chance.uniform(0, TOKENS_LAST)

    def attempt(self, time: float) -> str:
        """Return how an attempt fails now, or an empty string."""
        spell = self._world.spell_at(time)
        if spell is None or time >= spell.end or spell.attempts == "flapping":
            return ""
        return spell.attempts

    def end_of_connection(self, time: float) -> tuple[float, int]:
        """Return how long a connection lasts that is acknowledged now, and its close code."""
        while self._drop_at <= time:
            self._drop_at = time + self.chance.expovariate(1 / NETWORK_LASTS)
        while self._expires_at <= time:
            self._expires_at += TOKENS_LAST
        ends = [(self._drop_at, 1006), (self._expires_at, 4401), self._world.next_begin(time)]
        spell = self._world.spell_at(time)
        if spell is not None and time < spell.end and spell.attempts == "flapping":
            ends.append((time + self.chance.expovariate(1 / 30), 1011))
        at, code = min(ends)
        return max(at - time, 0.001), code


def draw_way(chance: Random) -> str:
    return chance.choices(list(DOWN), weights=list(DOWN.values()))[0]


def times(chance: Random, count: float, end: float) -> list[float]:
    """Return random times, about `count`."""
    whole = int(count) + (chance.random() < count % 1)
    return sorted(chance.uniform(0, end) for _ in range(whole))
