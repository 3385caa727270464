"""Mutants of PTX text: one wrong instruction each, of the kinds that people get wrong.

mutants(text) gives every one: (operator, line number, line before, line after).
"""
import re

# An operator: name, pattern of the instruction, what becomes of it. The replacement may be a function.
MOVE = {"f32": "mov.f32", "b32": "mov.b32", "s32": "mov.b32", "u32": "mov.b32", "b64": "mov.b64", "s64": "mov.b64",
        "u64": "mov.b64", "f64": "mov.f64"}


def removed(match):
    return ""


def weakened(match):
    return f"{match[1]}{int(match[2]) + 1};"


def moved(which):
    """d = op(a, b, ..) becomes d = the `which`-th source."""
    def make(match):
        sources = [s.strip() for s in match["args"].split(",")]
        return f"{MOVE[match['type']]} {sources[0]}, {sources[which]};"
    return make


def shifted(by):
    """[address + n] becomes [address + n + by(width)]."""
    def make(match):
        step = by(match)
        return re.sub(r"\[([%\w]+)(?:\+(-?\d+))?\]", lambda m: f"[{m[1]}+{int(m[2] or 0) + step}]", match[0], count=1)
    return make


def width(match):
    bits = int(match["bits"]) // 8
    vector = re.search(r"\.v(\d)", match[0])
    return bits * int(vector[1]) if vector else bits


def shifted_source(match):
    """cp.async: the second address, by its own 16 (or fewer) bytes."""
    places = list(re.finditer(r"\[([%\w]+)(?:\+(-?\d+))?\]", match[0]))
    at = places[1]
    return f"{match[0][:at.start()]}[{at[1]}+{int(at[2] or 0) + int(match['size'])}]{match[0][at.end():]}"


def swapped_pair(match):
    return f"{match[1]} {match[2]}, {match[4]}, {match[3]};"


def other_comparison(match):
    other = {"lt": "le", "le": "lt", "gt": "ge", "ge": "gt"}[match[1]]
    return f"setp.{other}.{match[2]}"


def next_constant(match):
    return f"{match[1]}{int(match[2]) + 1};"


def without_accumulator(match):
    """mma: C is taken from A's place in the pipeline of registers: the fragment of the first product's B."""
    head, d, a, b, c = match[1], match[2], match[3], match[4], match[5]
    first, *rest = [r.strip() for r in a.split(",")]
    return f"{head} {{{d}}}, {{{', '.join(rest + [first])}}}, {{{b}}}, {{{c}}};"


def half(match):
    """A reduction over lanes that leaves out its last step: each lane keeps its own value."""
    args = [s.strip() for s in match["args"].split(",")]
    target = args[0].split("|")[0]
    return f"mov.b32 {target}, {args[1]};"


OPERATORS = [
    ("barrier removed", r"(?:bar|barrier)\.(?:cta\.)?sync[^;]*;", removed),
    ("wait for copies removed", r"cp\.async\.wait_(?:group|all)[^;]*;", removed),
    ("wait for copies weakened", r"(cp\.async\.wait_group\s+)(\d+);", weakened),
    ("commit removed", r"cp\.async\.commit_group\s*;", removed),
    ("copy removed", r"cp\.async\.c[ag]\.shared[^;]*;", removed),
    ("copy's target off by its width", r"cp\.async\.c[ag]\.shared[^;]*, (?P<size>\d+)(?:, [^;]*)?;", shifted(lambda m: int(m["size"]))),
    ("copy's source off by its width", r"cp\.async\.c[ag]\.shared[^;]*\], (?P<size>\d+)(?:, [^;]*)?;", shifted_source),
    ("copy's tail not cut", r"(cp\.async\.c[ag]\.shared[^;]*\], (?P<size>\d+)), [^;]*;", lambda m: f"{m[1]};"),
    ("store off by an element", r"st\.(?:shared|global)(?:\.\w+)*?\.[a-z](?P<bits>\d+)\s[^;]*;", shifted(width)),
    ("load off by an element", r"ld\.(?:shared|global)(?:\.\w+)*?\.[a-z](?P<bits>\d+)\s[^;]*;", shifted(width)),
    ("matrix load off by a row", r"ldmatrix[^;]*;", shifted(lambda m: 16)),
    ("swizzle on one side", r"xor\.(?P<type>b32|b64)\s+(?P<args>[^;]*);", moved(1)),
    ("rescale or scale dropped", r"mul(?:\.rn)?(?:\.ftz)?\.(?P<type>f32)\s+(?P<args>[^;]*);", moved(1)),
    ("sum or product dropped", r"fma\.rn(?:\.ftz)?\.(?P<type>f32)\s+(?P<args>[^;]*);", moved(3)),
    ("term dropped", r"(?:add|sub)(?:\.rn)?(?:\.ftz)?\.(?P<type>f32)\s+(?P<args>[^;]*);", moved(1)),
    ("maximum dropped", r"max(?:\.ftz)?\.(?P<type>f32)\s+(?P<args>[^;]*);", moved(1)),
    ("exponential dropped", r"ex2\.approx(?:\.ftz)?\.(?P<type>f32)\s+(?P<args>[^;]*);", moved(1)),
    ("mask dropped", r"selp\.(?P<type>f32|b32|s32|u32)\s+(?P<args>[^;]*);", moved(1)),
    ("mask always on", r"selp\.(?P<type>f32|b32|s32|u32)\s+(?P<args>[^;]*);", moved(2)),
    ("mask off by one", r"setp\.(lt|le|gt|ge)\.([su](?:32|64))", other_comparison),
    ("reduction one step short", r"shfl\.sync\.bfly\.b32\s+(?P<args>[^;]*);", half),
    ("stage or index off by one", r"(add\.s(?:32|64)\s+%\w+, %\w+, )(\d+);", next_constant),
    ("stage mask off by one", r"(and\.b32\s+%\w+, %\w+, )(\d+);", next_constant),
    ("pair swapped", r"(cvt\.rn\.(?:bf16x2|f16x2)\.f32)\s+(%\w+), (%\w+), (%\w+);", swapped_pair),
    ("fragment rotated", r"(mma\.sync[^{;]*)\{([^}]*)\},\s*\{([^}]*)\},\s*\{([^}]*)\},\s*\{([^}]*)\};", without_accumulator),
]


def mutants(text):
    lines = text.split("\n")
    found = []
    for number, line in enumerate(lines):
        code = line.strip()
        if not code or code.startswith(("//", ".")):
            continue
        for name, pattern, make in OPERATORS:
            match = re.search(pattern, line)
            if not match:
                continue
            try:
                after = line[:match.start()] + make(match) + line[match.end():]
            except (KeyError, IndexError, ValueError):
                continue
            if name == "barrier removed" and line.strip().startswith("@"):
                continue
            after = re.sub(r"^(\s*)@!?%\w+\s*$", r"\1", after)  # a guard whose instruction is gone
            if after != line:
                found.append((name, number, line.strip(), after))
    return found


def mutated(text, mutant):
    lines = text.split("\n")
    lines[mutant[1]] = mutant[3]
    return "\n".join(lines)
