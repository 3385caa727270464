#!/usr/bin/env python3
"""Writes patterns/README.md from the heads of the pattern files.

    tools/catalogue.py           write the file
    tools/catalogue.py --check   exit code 1 if the file on disk differs or a head is incomplete
"""
import argparse
import sys

import pattern_files

README = pattern_files.PATTERNS / "README.md"
INTRO = """# The pattern library

One file a pattern, named like the pattern in it; data only. The CLI, the tests and the sweeps find a
new file by themselves. The grammar is in [ir/pattern](../ir/pattern/README.md); shapes of published
models that use these patterns are in [presets](presets/README.md).

Each file begins with comments of a fixed shape: the title, then `Equation:`, `Source:`, `Forms:`
(the forms that are legal for it, whether or not they can be lowered yet) and, where needed, `Note:`.
`i` is the absolute position of a query, `j` that of a key, `t` and `s` are steps of a recurrence.
This page is written from those comments by `tools/catalogue.py`; do not edit it.

| pattern | what it is | forms | source |
|---|---|---|---|
"""


CHOICES = """
## Design choices

- Title, equation, source and forms are comments of a fixed shape in the pattern's own file, so that a
  file says all about itself. Rejected: a table beside the files, which goes stale.
- Scans take and give their state, so that a run may go on where another ended (decoding). Power,
  Based, log-linear and memory-caching patterns start empty.
- Gates, norms and skips are maps around the mix and read like the paper. Rejected: inputs prepared
  by the caller, which would hide half of the mathematics.
"""


def problems(read):
    """What a reader of the catalogue would miss in this file."""
    if read.pattern != read.path.stem:
        yield f"holds @{read.pattern}, expected @{read.path.stem}"
    if not read.title:
        yield "first line is no title comment"
    for name in ("equation", "source", "forms"):
        if not any(getattr(read, name)):
            yield f"no `{name.capitalize()}:` line"
    if len(read.source) == 1 and not any(w in read.source[0] for w in ("arXiv", "Heddle", "github.com")):
        yield f"source {read.source[0]!r} names neither an arXiv id nor a repository"
    for form in " ".join(read.forms).split():
        if form not in pattern_files.FORMS:
            yield f"form {form!r}, expected some of {', '.join(pattern_files.FORMS)}"


def cell(lines):
    return " ".join(lines).replace("|", "\\|")


def catalogue(library):
    rows = [f"| [{r.pattern}]({r.path.name}) | {r.title} | {cell(r.forms)} | {cell(r.source)} |"
            for r in library]
    equations = [f"**{r.pattern}**\n\n    " + "\n    ".join(r.equation) for r in library]
    return INTRO + "\n".join(rows) + "\n\n## Equations\n\n" + "\n\n".join(equations) + "\n" + CHOICES


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the file on disk, write nothing")
    args = parser.parse_args()
    library = pattern_files.read_library()
    found = [f"{r.path.name}: {p}" for r in library for p in problems(r)]
    text = catalogue(library)
    if args.check and (not README.exists() or README.read_text() != text):
        found.append("patterns/README.md is stale: run tools/catalogue.py")
    elif not args.check and not found:
        README.write_text(text)
    print("\n".join(found) if found else f"{len(library)} patterns")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
