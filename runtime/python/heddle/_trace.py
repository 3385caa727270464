"""Python functions of score and support, traced into the pattern language.

    lambda s, h, i, j: 50 * heddle.tanh(s / 50) - abs(i - j)   ->   "50 * tanh(s / 50) - abs(i - j)"

The function is called once with symbols; operators and the functions of this module build the expression. What has
no counterpart (a Python `if` or `and` on a symbol, a loop over one, an unknown function) is a TraceError that names
the expression.
"""
import inspect
import math
import traceback

from ._errors import TraceError

BOOL, INT, REAL = "truth value", "integer", "real number"
# Strength of binding, as in the language's grammar.
OR, AND, NOT, COMPARE, SUM, PRODUCT, UNARY, ATOM = range(8)


class Tables:
    """Arrays and parameters that expressions of one pattern name."""

    def __init__(self):
        self.arrays = []  # Table objects, in the order of their first use
        self.parameters = {}

    def collect(self, node):
        if isinstance(node, Expr):
            for leaf in node.leaves:
                if isinstance(leaf, Parameter):
                    self.parameters[leaf.text] = leaf.default
                elif not any(leaf is known for known in self.arrays):
                    self.arrays.append(leaf)


class Expr:
    """An expression of the pattern language: its text, how strongly it binds, its type, and the tables and
    parameters in it."""

    __slots__ = ("make", "level", "type", "leaves", "parts")
    __array_ufunc__ = None  # numpy leaves `array + symbol` to us, and we refuse it by name
    __hash__ = None

    def __init__(self, make, level, type, leaves=(), parts=None):
        self.make, self.level, self.type, self.leaves, self.parts = make, level, type, tuple(leaves), parts

    def render(self, names):
        """The text, with `names` giving what tables are called."""
        return self.make(names)

    def __repr__(self):
        return self.render({})

    # Python's own control flow asks for truth or for a number: there is none before the kernel runs.
    def __bool__(self):
        raise TraceError(f"found a Python `if`, `and`, `or`, `not` or chained comparison on ({self!r}), whose value is "
                         "not known before the kernel runs, expected `&`, `|`, `~` or heddle.where")

    def __index__(self):
        raise TraceError(f"found an array indexed by ({self!r}), expected heddle.table(array)[...]")

    def __float__(self):
        raise TraceError(f"found a Python function of numbers called on ({self!r}), expected one of heddle's "
                         "(heddle.exp, heddle.tanh, ...)")

    __int__ = __float__

    def __iter__(self):
        raise TraceError(f"found a loop over ({self!r}), expected an expression")

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        raise TraceError(f"found ({self!r}).{name}, which the pattern language has not")

    def __add__(self, other):
        return binary("+", SUM, self, other)

    def __radd__(self, other):
        return binary("+", SUM, other, self)

    def __sub__(self, other):
        return binary("-", SUM, self, other)

    def __rsub__(self, other):
        return binary("-", SUM, other, self)

    def __mul__(self, other):
        return binary("*", PRODUCT, self, other)

    def __rmul__(self, other):
        return binary("*", PRODUCT, other, self)

    def __truediv__(self, other):
        return binary("/", PRODUCT, self, other, REAL)

    def __rtruediv__(self, other):
        return binary("/", PRODUCT, other, self, REAL)

    def __floordiv__(self, other):
        return binary("div", PRODUCT, self, other, whole=True)

    def __rfloordiv__(self, other):
        return binary("div", PRODUCT, other, self, whole=True)

    def __mod__(self, other):
        return binary("mod", PRODUCT, self, other, whole=True)

    def __rmod__(self, other):
        return binary("mod", PRODUCT, other, self, whole=True)

    def __pow__(self, other):
        return call("pow", REAL, self, other)

    def __rpow__(self, other):
        return call("pow", REAL, other, self)

    def __neg__(self):
        return unary("-", self)

    def __pos__(self):
        return self

    def __abs__(self):
        return call("abs", self.type, self)

    def __lt__(self, other):
        return compare("<", self, other)

    def __le__(self, other):
        return compare("<=", self, other)

    def __gt__(self, other):
        return compare(">", self, other)

    def __ge__(self, other):
        return compare(">=", self, other)

    def __eq__(self, other):
        return compare("==", self, other)

    def __ne__(self, other):
        return compare("<>", self, other)

    def __and__(self, other):
        return logical("and", AND, "bitand", self, other)

    def __rand__(self, other):
        return logical("and", AND, "bitand", other, self)

    def __or__(self, other):
        return logical("or", OR, None, self, other)

    def __ror__(self, other):
        return logical("or", OR, None, other, self)

    def __xor__(self, other):
        return logical("<>", COMPARE, "bitxor", self, other)

    def __rxor__(self, other):
        return logical("<>", COMPARE, "bitxor", other, self)

    def __invert__(self):
        node = lift(self)
        if node.type != BOOL:
            raise TraceError(f"found ~({node!r}), expected a truth value")
        return Expr(lambda names: "not " + bracket(node, NOT, names), NOT, BOOL, node.leaves)

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", str(function))
        if name in ("__get__", "__getitem__"):
            raise TraceError(f"found a torch tensor indexed by ({args[-1]!r}), expected heddle.table(tensor)[...]")
        chosen = FOREIGN.get(name)
        if chosen is None or kwargs:
            raise TraceError(f"found torch.{name} of a symbol, which the pattern language has not")
        return chosen(*args)


class Parameter(Expr):
    """A number that every call may give anew; without recompiling."""

    __slots__ = ("text", "default")

    def __init__(self, name, default):
        if not name.isidentifier():
            raise TraceError(f"found the parameter name {name!r}, expected an identifier")
        super().__init__(lambda names: name, ATOM, INT if isinstance(default, int) else REAL, (self,))
        self.text, self.default = name, default


class Table:
    """An array that a score or support reads by index. It becomes an input of the pattern; nothing is copied."""

    def __init__(self, array):
        kind = str(array.dtype).rpartition(".")[2]
        self.array, self.dtype = array, ELEMENTS.get(kind)
        if self.dtype is None:
            raise TraceError(f"found a table of {kind}, expected one of {', '.join(sorted(ELEMENTS))}")
        if self.dtype == "bool":  # the language has no truth values in memory
            is_torch = type(array).__module__.startswith("torch")
            self.array = array.view(_torch_dtype("uint8")) if is_torch else array.view("uint8")

    @property
    def shape(self):
        return tuple(self.array.shape)

    def __getitem__(self, index):
        index = tuple(lift(part) for part in (index if isinstance(index, tuple) else (index,)))
        if len(index) != len(self.shape):
            raise TraceError(f"found {len(index)} indices for a table of {len(self.shape)} dimensions")
        for part in index:
            if part.type != INT:
                raise TraceError(f"found the index ({part!r}), a {part.type}, expected an integer")
        leaves = [self] + [leaf for part in index for leaf in part.leaves]

        def make(names):
            read = f"{names.get(id(self), 'table')}[{', '.join(part.render(names) for part in index)}]"
            return f"({read} <> 0)" if self.dtype == "bool" else read

        type = BOOL if self.dtype == "bool" else INT if self.dtype[0] in "iu" else REAL
        return Expr(make, ATOM, type, leaves)


ELEMENTS = {"float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16", "int64": "i64", "int32": "i32",
            "int8": "i8", "uint8": "u8", "bool": "bool"}


def _torch_dtype(name):
    import torch
    return getattr(torch, name)


def lift(value):
    """Numbers as expressions; expressions as they are."""
    if isinstance(value, Expr):
        return value
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:  # numpy's and torch's numbers
        value = value.item()
    if isinstance(value, bool):
        return Expr(lambda names: "true" if value else "false", ATOM, BOOL)
    if isinstance(value, int):
        return Expr(lambda names: str(value), ATOM if value >= 0 else UNARY, INT)
    if isinstance(value, float):
        if not math.isfinite(value):
            return Expr(lambda names: str(value), ATOM, REAL, parts=("infinity", value))
        text = repr(value)
        mantissa, _, exponent = text.partition("e")
        text = (mantissa if "." in mantissa else mantissa + ".0") + ("e" + exponent if exponent else "")
        return Expr(lambda names: text, ATOM if value >= 0 else UNARY, REAL)
    raise TraceError(f"found {type(value).__name__} in a traced function, expected numbers, heddle.table or "
                     "heddle.parameter")


def bracket(node, level, names):
    text = node.render(names)
    return f"({text})" if node.level < level else text


def join(leaves):
    return [leaf for node in leaves for leaf in node.leaves]


def binary(sign, level, left, right, result=None, whole=False):
    left, right = lift(left), lift(right)
    for node in (left, right):
        if node.type == BOOL or (whole and node.type != INT):
            wanted = "an integer" if whole else "a number"
            raise TraceError(f"found ({node!r}), a {node.type}, beside `{sign}`, expected {wanted}")
    kind = result or (REAL if REAL in (left.type, right.type) else INT)
    # The right side of equals is bracketed: a - (b - c).
    return Expr(lambda names: f"{bracket(left, level, names)} {sign} {bracket(right, level + 1, names)}", level, kind,
                join((left, right)))


def unary(sign, node):
    if node.type == BOOL:
        raise TraceError(f"found {sign}({node!r}), expected a number")
    return Expr(lambda names: sign + bracket(node, UNARY, names), UNARY, node.type, node.leaves)


def compare(sign, left, right):
    left, right = lift(left), lift(right)
    return Expr(lambda names: f"{bracket(left, SUM, names)} {sign} {bracket(right, SUM, names)}", COMPARE, BOOL,
                join((left, right)))


def logical(word, level, bits, left, right):
    left, right = lift(left), lift(right)
    if left.type == BOOL and right.type == BOOL:
        return Expr(lambda names: f"{bracket(left, level + (word == '<>'), names)} {word} "
                    f"{bracket(right, level + 1, names)}", level, BOOL, join((left, right)))
    if bits and left.type == INT and right.type == INT:
        return call(bits, INT, left, right)
    raise TraceError(f"found ({left!r}), a {left.type}, and ({right!r}), a {right.type}, joined by `{word}`, expected "
                     "two truth values")


def call(name, result, *arguments):
    arguments = [lift(argument) for argument in arguments]
    for node in arguments:
        if node.type == BOOL and not (name == "select" and node is arguments[0]):
            raise TraceError(f"found {name} of ({node!r}), a truth value, expected a number")
    return Expr(lambda names: f"{name}({', '.join(node.render(names) for node in arguments)})", ATOM, result,
                join(arguments), (name, *arguments))


def where(condition, yes, no):
    """`yes` where the condition holds, else `no`."""
    condition, yes, no = lift(condition), lift(yes), lift(no)
    if condition.type != BOOL:
        raise TraceError(f"found ({condition!r}), a {condition.type}, as a condition, expected a truth value")
    if yes.type == BOOL and no.type == BOOL:
        return (condition & yes) | (~condition & no)
    return call("select", REAL if REAL in (yes.type, no.type) else INT, condition, yes, no)


def _real(name):
    def function(x):
        return call(name, REAL, x)
    function.__name__ = name
    function.__doc__ = f"{name}(x) of the pattern language."
    return function


def _of_all(name):
    def function(*arguments):
        nodes = [lift(argument) for argument in arguments]
        return call(name, REAL if any(node.type == REAL for node in nodes) else INT, *nodes)
    function.__name__ = name
    function.__doc__ = f"{name}(x, y, ...) of the pattern language."
    return function


exp, exp2, log, log2, sqrt, rsqrt, tanh = map(_real, ("exp", "exp2", "log", "log2", "sqrt", "rsqrt", "tanh"))
sigmoid, softplus, silu, sin, cos, erf = map(_real, ("sigmoid", "softplus", "silu", "sin", "cos", "erf"))
minimum, maximum = _of_all("min"), _of_all("max")
parameter, table = Parameter, Table
# torch.tanh(symbol) and the like, by torch's names.
FOREIGN = {function.__name__: function for function in
           (exp, exp2, log, log2, sqrt, rsqrt, tanh, sigmoid, softplus, silu, sin, cos, erf)}
FOREIGN.update(where=where, minimum=minimum, maximum=maximum, abs=abs, pow=lambda x, y: lift(x)**y,
               logical_and=lambda x, y: lift(x) & y, logical_or=lambda x, y: lift(x) | y,
               logical_not=lambda x: ~lift(x), floor_divide=lambda x, y: lift(x) // y,
               remainder=lambda x, y: lift(x) % y)
for _name in ("add", "sub", "mul", "lt", "le", "gt", "ge", "eq", "ne"):
    FOREIGN[_name] = (lambda slot: lambda x, y: getattr(lift(x), slot)(y))(f"__{_name}__")
FOREIGN["rsub"] = lambda x, y: lift(y) - x
FOREIGN["div"] = FOREIGN["true_divide"] = lambda x, y: lift(x) / y

SYMBOLS = {"s": REAL, "b": INT, "h": INT, "i": INT, "j": INT, "row": INT, "hk": INT, "len_q": INT, "len_k": INT}


def symbol(name):
    return Expr(lambda names: name, ATOM, SYMBOLS[name])


def trace(function, order, what):
    """Calls the function with symbols. Arguments with names of the language get those; others go by position in
    `order`."""
    names = [parameter.name for parameter in inspect.signature(function).parameters.values()]
    if not set(names) <= set(SYMBOLS):
        if len(names) > len(order):
            raise TraceError(f"found {what} with the arguments {', '.join(names)}, expected at most {len(order)}: "
                             f"{', '.join(order)}")
        names = order[:len(names)]
    try:
        value = function(*(symbol(name) for name in names))
    except IndexError as error:  # numpy's answer to a symbol as an index
        line = traceback.extract_tb(error.__traceback__)[-1].line
        raise TraceError(f"found an array indexed by a symbol in `{line}`, expected heddle.table(array)[...]") from None
    try:
        value = lift(value)
    except TraceError:
        raise TraceError(f"found {what} that returns {type(value).__name__}, expected an expression") from None
    if what == "support" and value.type != BOOL:
        raise TraceError(f"found support that returns ({value!r}), a {value.type}, expected a truth value")
    if what == "score" and value.type == BOOL:
        raise TraceError(f"found score that returns ({value!r}), a truth value, expected a number")
    return value


def without_infinity(score):
    """A score of the shape where(c, x, -inf), as torch's users write masks: (x, c). Else (score, None)."""
    if score.parts and score.parts[0] == "select":
        _, condition, yes, no = score.parts
        if no.parts == ("infinity", -math.inf):
            inner, more = without_infinity(yes)
            return inner, condition if more is None else condition & more
        if yes.parts == ("infinity", -math.inf):
            inner, more = without_infinity(no)
            return inner, ~condition if more is None else ~condition & more
    return score, None


def attention_text(score, support, tables, align):
    """The pattern of softmax attention with this score and support (None: all); its tables are t0, t1, ..."""
    score, masked = without_infinity(score)
    if masked is not None:
        support = masked if support is None else support & masked
    for node in (score, support):
        tables.collect(node)
    names, arguments = {}, []
    for n, table in enumerate(tables.arrays):
        names[id(table)] = f"t{n}"
        dims = " x ".join(f"N{n}_{d}" for d in range(len(table.shape)))
        arguments.append(f"%t{n}: tensor<{'u8' if table.dtype == 'bool' else table.dtype}, {dims}>")
    arguments += [f"{name} = {lift(default)!r}" for name, default in tables.parameters.items()]
    more = "".join(",\n    " + argument for argument in arguments)
    body = score.render(names), "true" if support is None else support.render(names)
    if "inf" in body[0].replace("(", " ").split() or "-inf" in body[0] or "nan" in body[0].split():
        raise TraceError(f"found a score with an infinity or NaN in it ({body[0]}), expected support to say which "
                         "pairs count")
    return (f"pattern.def @traced(%q: seq<Tq x Hq x D>, %k: seq<Tk x Hk x D>, %v: seq<Tk x Hk x Dv>{more}) {{\n"
            f"  %o, %lse = mix %q, %k, %v\n    align {align}\n"
            f"    support {{ {body[1]} }}\n    score {{ {body[0]} }}\n    weight exp  norm sum\n"
            "  return %o, %lse\n}\n")
