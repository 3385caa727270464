"""Reads the head of a .heddle file: the comment fields and the signature. No grammar beyond that.

A library file begins with comment lines in this order; a line that starts with three blanks after
`//` continues the field above it:

    // Causal softmax attention.                      <- title: the first line
    // Equation: s_ij = q_i . k_j / sqrt(D), j <= i;
    //   o_i = sum_j exp(s_ij) v_j / sum_j exp(s_ij)
    // Source: Vaswani et al., arXiv 1706.03762
    // Forms: attention
    // Note: anything a reader must know.             <- optional, any number of them
"""
import dataclasses
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent
PATTERNS = ROOT / "patterns"
FIELDS = ("equation", "source", "forms", "note")
FORMS = ("attention", "recurrent", "chunked")
SIGNATURE = re.compile(r"pattern\.def\s+@(\w+)\s*\(")
TENSOR = re.compile(r"%(\w+)\s*:\s*(?:seq|tensor)<([^>]*)>")
SCALAR = re.compile(r"(?:^|,)\s*(const\s+)?([A-Za-z_]\w*)\s*=\s*([^,]+)")


@dataclasses.dataclass
class PatternFile:
    """What the head of one file says. `params` maps a name to (is compile-time constant, default)."""
    path: pathlib.Path
    title: str = ""
    equation: list = dataclasses.field(default_factory=list)
    source: list = dataclasses.field(default_factory=list)
    forms: list = dataclasses.field(default_factory=list)
    note: list = dataclasses.field(default_factory=list)
    pattern: str = ""
    tensors: dict = dataclasses.field(default_factory=dict)
    params: dict = dataclasses.field(default_factory=dict)
    conditions: str = ""

    @property
    def dims(self):
        """Names of the dimensions in the order of their first use, without the batch."""
        found = re.findall(r"\b[A-Za-z_]\w*\b", " ".join(self.tensors.values()).replace(" x ", " "))
        return list(dict.fromkeys(found))

    @property
    def derived_dims(self):
        """Dims that a condition `NAME == ...` fixes from others."""
        return [d for d in self.dims if re.search(rf"(?:^|,)\s*{d} ==", self.conditions)]


def head_fields(read, text):
    """Fills title and comment fields from the leading comment lines."""
    current = None
    for line in text.splitlines():
        if not line.startswith("//"):
            break
        body = line[2:]
        name, colon, rest = body.strip().partition(":")
        if colon and name.lower() in FIELDS and not body.startswith("   "):
            current = getattr(read, name.lower())
            current.append(rest.strip())
        elif body.startswith("   ") and current is not None:
            current.append(body.strip())
        elif not read.title:
            read.title = body.strip().rstrip(".")
        else:
            raise ValueError(f"{read.path.name}: comment line of no field: {line!r}; "
                             "start it with a field name or indent it by three blanks")


def signature_text(text, start):
    """The text between the parenthesis that ends at `start` and its partner, and what follows it up
    to the body; comments removed."""
    depth, end = 1, start
    while end < len(text) and depth:
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        end += 1
    without_comments = re.sub(r"//[^\n]*", "", text[start:end - 1])
    return without_comments, text[end:text.index("{", end)]


def read_pattern(path):
    """Reads one file; ValueError says what is missing."""
    text = path.read_text()
    read = PatternFile(path)
    head_fields(read, text)
    found = SIGNATURE.search(text)
    if not found:
        raise ValueError(f"{path.name}: no `pattern.def @name(`")
    read.pattern = found.group(1)
    arguments, after = signature_text(text, found.end())
    read.conditions = after.replace("where", "")
    elements = re.compile(r"^\s*[a-z]\w*\s*,")  # the element type: f32, u8, ...
    read.tensors = {n: elements.sub("", dims) for n, dims in TENSOR.findall(arguments)}
    for const, name, default in SCALAR.findall(TENSOR.sub("", arguments)):
        read.params[name] = (bool(const), default.strip())
    return read


def read_library():
    return [read_pattern(path) for path in sorted(PATTERNS.glob("*.heddle"))]
