"""What programs that train share: finished runs are kept in a file and not run again.

A program NAME names its runs, as by an environment and a seed, and says how one is run. Every
finished run is a line of NAME.jsonl in the folder of results, and one that stands there is not run
again. The page NAME.md with its tables and the pictures beside it are written anew at each call.
"""

import argparse
import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import fastrl
import harness

RESULTS = Path(__file__).parent / "results"

Row = dict[str, object]


def parse(parser: argparse.ArgumentParser, quick: str = "") -> argparse.Namespace:
    """Adds the options that all have, sets the threads, says where; `quick` is what that runs."""
    if quick:
        help_text = f"{quick}, to see that everything runs; wants an --out of its own"
        parser.add_argument("--quick", action="store_true", help=help_text)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder (default: results/)")
    parser.add_argument("--report", action="store_true", help="run nothing, write the page")
    parser.add_argument("--threads", type=int, default=1, help="of each run (%(default)s)")
    parser.add_argument(
        "--workers", type=int, default=1, help="runs at once; more make each slower (%(default)s)"
    )
    arguments = parser.parse_args()
    if quick and arguments.quick and arguments.out == RESULTS:
        parser.error("--quick wants an --out of its own")
    fastrl.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    print(harness.where(harness.machine("cpu")))
    return arguments


class KeptRuns:
    """The runs of a program.

    Args:
        name: The program's.
        keys: Which entries of a run's line name the run; a job has them, too.
        arguments: What `parse` returned.
    """

    def __init__(self, name: str, keys: Iterable[str], arguments: argparse.Namespace) -> None:
        self._name, self._keys, self._arguments = name, tuple(keys), arguments
        self._path = arguments.out / f"{name}.jsonl"
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        self._rows = {self._key(row): row for row in map(json.loads, lines)}

    def complete(
        self, jobs: list[Row], run: Callable[[Row], Row], say: Callable[[Row], str]
    ) -> list[Row]:
        """Runs what is missing, then as `select`; each is on disk before it is said.

        Args:
            jobs: What names a run, and what else `run` takes.
            run: A function of a module, for other processes; the line of a job that it was given.
            say: One line on the terminal, of a finished run.
        """
        missing = [job for job in jobs if self._key(job) not in self._rows]
        if missing and not self._arguments.report:
            facts = harness.machine("cpu")
            for count, row in enumerate(self._finished(missing, run), 1):
                self._rows[self._key(row)] = row = facts | row
                harness.append(self._path, [row])
                print(f"{count}/{len(missing)} {say(row)}", flush=True)
        return self.select(jobs)

    def select(self, jobs: Iterable[Row]) -> list[Row]:
        """The lines of some jobs, in their order, as far as they are there."""
        return [self._rows[key] for key in map(self._key, jobs) if key in self._rows]

    def write_page(self, lines: Iterable[str]) -> None:
        """Writes NAME.md, and prints it."""
        text = "\n".join(lines) + "\n"
        (self._arguments.out / f"{self._name}.md").write_text(text)
        print(text, end="")

    def picture(self, suffix: str = "") -> Path:
        """Where a picture goes."""
        return self._arguments.out / f"{self._name}{suffix}.png"

    def _key(self, row: Row) -> str:
        return json.dumps([row[key] for key in self._keys])

    def _finished(self, jobs: list[Row], run: Callable[[Row], Row]) -> Iterator[Row]:
        if self._arguments.workers == 1:
            yield from map(run, jobs)
            return
        pool = ProcessPoolExecutor(
            self._arguments.workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=fastrl.set_num_threads,
            initargs=(self._arguments.threads,),
        )
        with pool:
            for future in as_completed([pool.submit(run, job) for job in jobs]):
                yield future.result()


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Lines of Markdown."""
    head = list(head)
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
