"""Compare the responses of two servers that run the same file."""

from collections.abc import Iterator, Mapping

from tests.corpus.entry import Entry


def flat(result: Mapping[str, object]) -> dict[str, object]:
    """Name each fact of a run: `8000 GET /: body.path`, `running: run/app.sock`."""
    return dict(_facts(result))


def _facts(result: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for label, answer in result["answers"].items():  # type: ignore[attr-defined]
        yield f"{label}: status", answer["status"]
        if answer["status"] is None:
            continue
        yield f"{label}: reason", answer["reason"]
        for name, text in answer["headers"].items():
            yield f"{label}: {name}", text
        body = answer["body"]
        if isinstance(body, dict):
            yield from ((f"{label}: body.{name}", text) for name, text in body.items())
        else:
            yield f"{label}: body", body
    for when in ("running", "after"):
        for path, about in (result[when] or {}).items():  # type: ignore[attr-defined]
            yield f"{when}: {path}", about


def unexpected(entry: Entry, ours: Mapping[str, object],
               theirs: Mapping[str, object]) -> list[str]:
    """Return the differences that are not listed, and those listed that do not exist."""
    if None in (ours["after"], theirs["after"]):
        ours, theirs = {**ours, "after": None}, {**theirs, "after": None}
    mine, real = flat(ours), flat(theirs)
    lines = []
    for name in sorted({*mine, *real}):
        here, there = mine.get(name), real.get(name)
        listed = entry.difference(name)
        if here == there:
            if name in entry.differs:
                lines.append(f"{name}: is {here!r} as in uWSGI, but listed as different")
        elif listed is None:
            lines.append(f"{name}: {here!r}; uWSGI: {there!r}")
        elif listed[0] != here:
            lines.append(f"{name}: {here!r} where {listed[0]!r} is listed; uWSGI: {there!r}")
    lines += [f"{name}: is listed, and neither has it" for name in entry.differs
              if "*" not in name and name not in mine and name not in real]
    return lines
