"""The form-filling task in plain Python; see `csrc/envs/text_games/form_fill.h` for the rules."""

from datetime import date, timedelta
from typing import Self

from fastrl.reference.envs import Outcome, RandomStream

_NAMES = [
    "Ada",
    "Ben",
    "Cleo",
    "Dan",
    "Eva",
    "Finn",
    "Gina",
    "Hugo",
    "Ida",
    "Jon",
    "Kira",
    "Leo",
    "Mia",
    "Nils",
    "Olga",
    "Paul",
]
_CHOICES = {
    "room": ["single", "double", "suite"],
    "meal": ["fish", "meat", "vegan"],
    "payment": ["cash", "card", "voucher"],
}
_NUMBERS = {"nights": 14, "adults": 9}
FIELDS = ["guest", "arrival", "nights", "departure", "room", "meal", "adults", "payment"]


def num_values(field: str) -> int:
    """How many values a field can have."""
    if field == "guest":
        return len(_NAMES)
    if field in _CHOICES:
        return len(_CHOICES[field])
    return _NUMBERS.get(field, 365)


def spelled(field: str, value: int) -> str:
    """A value as it is written."""
    if field == "guest":
        return _NAMES[value]
    if field in _CHOICES:
        return _CHOICES[field][value]
    if field in _NUMBERS:
        return str(value + 1)
    day = date(2023, 1, 1) + timedelta(days=value)
    return f"{day.day} {day:%b}"


class FormFill:
    """Enter what the instruction says, then submit."""

    def __init__(self, values: list[int], statements: list[str], reward: str) -> None:
        self.fields = FIELDS[: len(values)]
        self.values, self.statements, self.reward = values, statements, reward
        self.entries: list[int | None] = [None] * len(values)
        self.last, self.submitted = "", False
        self.actions = [
            (i, value) for i, field in enumerate(self.fields) for value in range(num_values(field))
        ]

    @classmethod
    def drawn(
        cls, level: RandomStream, num_fields: int, inference_probability: float, reward: str
    ) -> Self:
        """A level: the values, how they are stated, and the order of the statements."""
        values: list[int] = []
        statements: list[str] = []
        for field in FIELDS[:num_fields]:
            if field == "arrival":
                value = 30 + level.below(300)
            elif field == "departure":
                value = values[1] + values[2] + 1
            else:
                value = level.below(num_values(field))
            values.append(value)
            text = spelled(field, value)
            if level.uniform() < inference_probability:
                text = cls._inferred(level, field, value)
            statements.append(f"{field} is {text}")
        order = list(range(num_fields))
        for i in range(num_fields - 1, 0, -1):
            j = level.below(i + 1)
            order[i], order[j] = order[j], order[i]
        return cls(values, [statements[i] for i in order], reward)

    @staticmethod
    def _inferred(level: RandomStream, field: str, value: int) -> str:
        if field == "departure":
            return "arrival plus nights"
        if field in _CHOICES:
            return (
                f"neither {spelled(field, (value + 1) % 3)} nor {spelled(field, (value + 2) % 3)}"
            )
        if field == "guest":
            other = (value + 1 + level.below(len(_NAMES) - 1)) % len(_NAMES)
            return f"not {_NAMES[other]} but {_NAMES[value]}"
        size = 2 + level.below(8)
        less = level.below(2) == 1 or (field in _NUMBERS and value < size)
        if field in _NUMBERS:
            start = value + 1 + (size if less else -size)
            return f"{size} {'less' if less else 'more'} than {start}"
        start = value + (size if less else -size)
        return f"{size} days {'before' if less else 'after'} {spelled(field, start)}"

    def succeeded(self) -> bool:
        """The right form is submitted."""
        return self.submitted and self.entries == self.values

    def key(self) -> object:
        """The form."""
        return self.submitted, tuple(self.entries)

    def step(self, action: int) -> Outcome:
        """Enters a value into a field; the last action submits."""
        if action < 0:
            self.last = "?"
            return 0.0, False, False
        if action < len(self.actions):
            field, value = self.actions[action]
            self.entries = [value if i == field else old for i, old in enumerate(self.entries)]
            self.last = self._row(field)
            return 0.0, False, False
        self.submitted, self.last = True, "submitted"
        pairs = zip(self.entries, self.values, strict=True)
        share = sum(entry == value for entry, value in pairs) / len(self.values)
        success = self.succeeded()
        return (float(success) if self.reward == "binary" else share), True, success

    def _row(self, field: int) -> str:
        entry, name = self.entries[field], self.fields[field]
        return f"{name} = {'?' if entry is None else spelled(name, entry)}"

    def grid(self) -> str:
        """The instruction and the form."""
        rows = [self._row(field) for field in range(len(self.fields))]
        rows += ["submitted"] if self.submitted else []
        return "; ".join(self.statements) + ".\n" + "\n".join(rows)

    def compact(self) -> str:
        """What the last action did."""
        return self.last
