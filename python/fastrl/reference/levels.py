"""Level and task sampling in plain Python: weights, scores, and the sampler's bookkeeping."""

import math


def rank_weights(scores: list[float], temperature: float) -> list[float]:
    """1 / rank^(1/T); equal scores share the mean of their ranks' weights."""
    descending = sorted(scores, reverse=True)
    weights = []
    for score in scores:
        ranks = [i + 1 for i, other in enumerate(descending) if other == score]
        weights.append(sum(1.0 / rank ** (1.0 / temperature) for rank in ranks) / len(ranks))
    return weights


def level_weights(
    scores: list[float],
    transform: str,
    temperature: float = 1.0,
    offset: float = 0.0,
    epsilon: float = 0.05,
    low: float = 0.1,
    high: float = 0.9,
) -> list[float]:
    """The distribution of one transform; even where all weights are 0."""
    n, largest = len(scores), max(scores)
    match = [max(p * (1.0 - p), 0.0) for p in scores]
    if transform == "constant":
        weights = [1.0] * n
    elif transform == "rank":
        weights = rank_weights(scores, temperature)
    elif transform == "power":
        weights = [(max(s, 0.0) + offset) ** (1.0 / temperature) for s in scores]
    elif transform == "proportional":
        weights = [max(s, 0.0) for s in scores]
    elif transform == "softmax":
        weights = [math.exp(s / temperature) for s in scores]
    elif transform == "max":
        weights = [float(s == largest) for s in scores]
    elif transform == "eps_greedy":
        best = scores.count(largest)
        weights = [(1.0 - epsilon) * (s == largest) / best + epsilon / n for s in scores]
    elif transform == "match":
        weights = [m ** (1.0 / temperature) for m in match]
    elif transform == "match_rank":
        weights = rank_weights(match, temperature)
    else:
        weights = [float(low <= s <= high) for s in scores]
    total = sum(weights)
    return [w / total for w in weights] if total > 0.0 else [1.0 / n] * n


def task_weights(
    rewards: list[float], classes: list[int], lambda_: float, alpha: float
) -> list[float]:
    """(1 - α) / M + α · P(class) · P(task given the class), both softmax of -λ · reward."""
    members = {c: [r for r, k in zip(rewards, classes, strict=True) if k == c] for c in classes}
    of_class = {c: math.exp(-lambda_ * sum(rs) / len(rs)) for c, rs in members.items()}
    within = {c: sum(math.exp(-lambda_ * r) for r in rs) for c, rs in members.items()}
    weights = []
    for reward, c in zip(rewards, classes, strict=True):
        share = of_class[c] / sum(of_class.values()) * math.exp(-lambda_ * reward) / within[c]
        weights.append((1.0 - alpha) / len(rewards) + alpha * share)
    return weights


def paired_regret(antagonist: list[float], protagonist: list[float], flexible: bool) -> float:
    """Of one level: max(0, the better one's best return - the other's mean)."""
    if flexible and max(antagonist) <= max(protagonist):
        antagonist, protagonist = protagonist, antagonist
    return max(0.0, max(antagonist) - sum(protagonist) / len(protagonist))


def policy_scores(logits: list[float]) -> tuple[float, float, float]:
    """Of one step: normalized entropy, least confidence and minimum margin."""
    total = sum(math.exp(x) for x in logits)
    policy = sorted((math.exp(x) / total for x in logits), reverse=True)
    entropy = -sum(p * math.log(p) for p in policy if p > 0.0) / math.log(len(policy))
    return entropy, 1.0 - policy[0], 1.0 - (policy[0] - policy[1])


def episode_scores(
    scores: list[list[float]],
    level_ids: list[list[int]],
    ended: list[list[bool]],
    stepped: list[list[bool]],
) -> list[tuple[int, float, float, int]]:
    """(id, mean, largest, steps) of each episode that ended in [T][B] steps, in that order."""
    running: dict[int, tuple[int, list[float]]] = {}
    episodes = []
    for t in range(len(scores)):
        for b in range(len(scores[t])):
            if not stepped[t][b]:
                continue
            level, so_far = running.setdefault(b, (level_ids[t][b], []))
            so_far.append(scores[t][b])
            if ended[t][b]:
                del running[b]
                if level >= 0:
                    mean = sum(so_far) / len(so_far)
                    episodes.append((level, mean, max(so_far), len(so_far)))
    return episodes


class LevelSampler:
    """Levels by id; draws themselves are left to the caller."""

    def __init__(self, capacity: int, step_size: float = 1.0) -> None:
        self.capacity, self.step_size = capacity, step_size
        self.scores: dict[int, float | None] = {}
        self.last_drawn: dict[int, int] = {}
        self.num_drawn = 0

    def add(self, level: int, score: float | None) -> bool:
        """Evicts the lowest score, unless the new one is lower still."""
        if len(self.scores) == self.capacity:
            known = {i: s for i, s in self.scores.items() if s is not None}
            if not known:
                return False
            lowest = min(known, key=lambda i: known[i])
            if score is not None and score < known[lowest]:
                return False
            del self.scores[lowest], self.last_drawn[lowest]
        self.scores[level], self.last_drawn[level] = score, self.num_drawn
        return True

    def update(self, level: int, score: float) -> None:
        """Moves a score; the first one is taken whole, and an unknown level has none."""
        if level in self.scores:
            old = self.scores[level]
            kept = 1.0 - self.step_size
            self.scores[level] = score if old is None else kept * old + self.step_size * score

    def draw(self, level: int) -> None:
        """Says that this one was drawn."""
        self.num_drawn += 1
        if level in self.last_drawn:
            self.last_drawn[level] = self.num_drawn

    def weights(
        self,
        transform: str,
        temperature: float,
        staleness_coef: float,
        staleness_transform: str,
        staleness_temperature: float,
    ) -> dict[int, float]:
        """Of the levels that have a score."""
        known = {i: s for i, s in self.scores.items() if s is not None}
        stale = [float(self.num_drawn - self.last_drawn[i]) for i in known]
        by_score = level_weights(list(known.values()), transform, temperature)
        by_age = level_weights(stale, staleness_transform, staleness_temperature)
        mixed = [
            (1.0 - staleness_coef) * s + staleness_coef * c
            for s, c in zip(by_score, by_age, strict=True)
        ]
        return dict(zip(known, mixed, strict=True))
