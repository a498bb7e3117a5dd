"""Record the responses of real uWSGI: `python -m tests.corpus --record [NAME...]`.

    python -m tests.corpus NAME...      compare with the record, without running uWSGI
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.corpus import runner
from tests.corpus.catalogue import ENTRIES
from tests.corpus.comparison import unexpected

RECORD = Path(__file__).with_name("answers.json")


def main(arguments: list[str]) -> int:
    """Record or compare; return 1 if anything differs."""
    record = "--record" in arguments
    names = [name for name in arguments if name != "--record"]
    chosen = [entry for entry in ENTRIES if not names or entry.name in names]
    known = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    bad = 0
    with ThreadPoolExecutor(3) as pool:
        if record:
            asked = [entry for entry in chosen if entry.alone is None]
            for entry, result in zip(asked, pool.map(_returning_errors(runner.theirs), asked)):
                if isinstance(result, BaseException):
                    bad += 1
                    print(f"{entry.name}: {result}\n")
                else:
                    known[entry.name] = result
            names = {entry.name for entry in ENTRIES if entry.alone is None}
            RECORD.write_text(json.dumps({name: known[name] for name in sorted(known)
                                          if name in names}, indent=1, sort_keys=True) + "\n")
            return bool(bad)
        compared = pool.map(_returning_errors(lambda entry: runner.ours(
            entry, known.get(entry.name, runner.NOTHING))), chosen)
        for entry, result in zip(chosen, compared):
            if isinstance(result, BaseException):
                lines = [str(result)]
            else:
                lines = unexpected(entry, result, known.get(entry.name, runner.NOTHING))
            bad += bool(lines)
            print(f"{entry.name}: " + ("\n    ".join(["", *lines]) if lines else "as uWSGI"))
    return bool(bad)


def _returning_errors(run):
    """Wrap a function to return its exception instead of raising it."""
    def keep(entry):
        try:
            return run(entry)
        except Exception as error:
            return error
    return keep


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
