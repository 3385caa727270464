// Factories, readers and the printer of expressions.
//   makeBinary(Sub, makeVar("i"), makeVar("j"))  prints as  i - j
// The printer puts in exactly the parentheses that make the text parse to the same tree.
#include "ir/pattern/Expr.h"

#include "ir/pattern/ExprParser.h"
#include "ir/pattern/PatternDialect.h"

#include "llvm/Support/raw_ostream.h"
#include "mlir/IR/Builders.h"

#include <fmt/format.h>

#include <cassert>
#include <cmath>

using namespace mlir;

namespace heddle::pattern {

bool isReduction(ExprKind kind) { return kind >= ExprKind::Sum && kind <= ExprKind::ArgMin; }
bool isComparison(ExprKind kind) { return kind >= ExprKind::Lt && kind <= ExprKind::Ne; }

StringRef kindName(ExprKind kind) {
  static constexpr const char *kNames[] = {
      "Integer", "Float", "Bool", "Var",      "Param",  "Dim",    "Neg",    "Not", "Add",
      "Sub",     "Mul",   "Div",  "FloorDiv", "Mod",    "Lt",     "Le",     "Gt",  "Ge",
      "Eq",      "Ne",    "And",  "Or",       "Call",   "Read",   "Member", "Sum", "Prod",
      "Max",     "Min",   "Any",  "All",      "ArgMax", "ArgMin", "Let"};
  return kNames[int(kind)];
}

//===--- factories ---===//

static ExprAttr make(MLIRContext *context, ExprKind kind, StringRef symbol, Attribute value,
                     ArrayRef<ExprAttr> children) {
  SmallVector<Attribute> operands(children.begin(), children.end());
  StringAttr name = symbol.empty() ? StringAttr() : StringAttr::get(context, symbol);
  return ExprAttr::get(context, kind, name, value, operands);
}

ExprAttr makeInteger(MLIRContext *context, int64_t value) {
  return make(context, ExprKind::Integer, "", Builder(context).getI64IntegerAttr(value), {});
}

ExprAttr makeFloat(MLIRContext *context, double value) {
  assert(std::isfinite(value) && "constants of patterns are finite");
  return make(context, ExprKind::Float, "", Builder(context).getF64FloatAttr(value), {});
}

ExprAttr makeBool(MLIRContext *context, bool value) {
  return make(context, ExprKind::Bool, "", BoolAttr::get(context, value), {});
}

ExprAttr makeVar(MLIRContext *context, StringRef name) {
  return make(context, ExprKind::Var, name, {}, {});
}

ExprAttr makeParam(MLIRContext *context, StringRef name) {
  return make(context, ExprKind::Param, name, {}, {});
}

ExprAttr makeDim(MLIRContext *context, StringRef name) {
  return make(context, ExprKind::Dim, name, {}, {});
}

ExprAttr makeUnary(ExprKind kind, ExprAttr operand) {
  assert(kind == ExprKind::Neg || kind == ExprKind::Not);
  MLIRContext *context = operand.getContext();
  if (kind == ExprKind::Neg && operand.is(ExprKind::Integer) && operand.integer() != INT64_MIN)
    return makeInteger(context, -operand.integer());
  if (kind == ExprKind::Neg && operand.is(ExprKind::Float))
    return makeFloat(context, -operand.number());
  return make(context, kind, "", {}, {operand});
}

ExprAttr makeBinary(ExprKind kind, ExprAttr left, ExprAttr right) {
  assert(kind >= ExprKind::Add && kind <= ExprKind::Or);
  return make(left.getContext(), kind, "", {}, {left, right});
}

ExprAttr makeCall(MLIRContext *context, StringRef function, ArrayRef<ExprAttr> arguments) {
  return make(context, ExprKind::Call, function, {}, arguments);
}

ExprAttr makeRead(MLIRContext *context, StringRef tensor, ArrayRef<ExprAttr> indices) {
  return make(context, ExprKind::Read, tensor, {}, indices);
}

ExprAttr makeMember(ExprAttr value, ExprAttr row) {
  assert(row.is(ExprKind::Read));
  return make(value.getContext(), ExprKind::Member, "", {}, {value, row});
}

ExprAttr makeReduction(ExprKind kind, StringRef name, ExprAttr lo, ExprAttr hi, ExprAttr body) {
  assert(isReduction(kind));
  return make(lo.getContext(), kind, name, {}, {lo, hi, body});
}

ExprAttr makeLet(StringRef name, ExprAttr value, ExprAttr body) {
  return make(value.getContext(), ExprKind::Let, name, {}, {value, body});
}

//===--- readers ---===//

ExprAttr ExprAttr::operator[](size_t index) const { return cast<ExprAttr>(getOperands()[index]); }

std::vector<ExprAttr> ExprAttr::children() const {
  std::vector<ExprAttr> out;
  for (Attribute child : getOperands())
    out.push_back(cast<ExprAttr>(child));
  return out;
}

StringRef ExprAttr::getName() const { return getSymbol() ? getSymbol().getValue() : StringRef(); }
int64_t ExprAttr::integer() const { return cast<IntegerAttr>(getValue()).getInt(); }
double ExprAttr::number() const { return cast<FloatAttr>(getValue()).getValueAsDouble(); }
bool ExprAttr::boolean() const { return cast<BoolAttr>(getValue()).getValue(); }
bool ExprAttr::isInteger(int64_t value) const {
  return is(ExprKind::Integer) && integer() == value;
}

std::string ExprAttr::str() const {
  std::string text;
  llvm::raw_string_ostream os(text);
  pattern::print(*this, os);
  return text;
}

void walk(ExprAttr expr, llvm::function_ref<bool(ExprAttr)> visit) {
  if (!visit(expr))
    return;
  for (Attribute child : expr.getOperands())
    walk(cast<ExprAttr>(child), visit);
}

//===--- printer ---===//

namespace {

// How tightly each kind binds; a child that binds less tightly than its place is parenthesised.
enum Level { kLet, kOr, kAnd, kNot, kCompare, kAdd, kMul, kNeg, kPrimary };

struct Infix {
  Level level;
  const char *text;
};

Infix infixOf(ExprKind kind) {
  switch (kind) {
  case ExprKind::Or:
    return {kOr, " or "};
  case ExprKind::And:
    return {kAnd, " and "};
  case ExprKind::Lt:
    return {kCompare, " < "};
  case ExprKind::Le:
    return {kCompare, " <= "};
  case ExprKind::Gt:
    return {kCompare, " > "};
  case ExprKind::Ge:
    return {kCompare, " >= "};
  case ExprKind::Eq:
    return {kCompare, " == "};
  case ExprKind::Ne:
    return {kCompare, " <> "};
  case ExprKind::Add:
    return {kAdd, " + "};
  case ExprKind::Sub:
    return {kAdd, " - "};
  case ExprKind::Mul:
    return {kMul, " * "};
  case ExprKind::Div:
    return {kMul, " / "};
  case ExprKind::FloorDiv:
    return {kMul, " div "};
  case ExprKind::Mod:
    return {kMul, " mod "};
  default:
    return {kPrimary, nullptr};
  }
}

Level levelOf(ExprAttr expr) {
  switch (expr.getKind()) {
  case ExprKind::Let:
    return kLet;
  case ExprKind::Not:
    return kNot;
  case ExprKind::Member:
    return kCompare;
  case ExprKind::Neg:
    return kNeg;
  case ExprKind::Integer:
    return expr.integer() < 0 ? kNeg : kPrimary;
  case ExprKind::Float:
    return std::signbit(expr.number()) ? kNeg : kPrimary;
  default:
    return infixOf(expr.getKind()).level;
  }
}

StringRef reductionWord(ExprKind kind) {
  static constexpr const char *kWords[] = {"sum", "prod", "max",    "min",
                                           "any", "all",  "argmax", "argmin"};
  return kWords[int(kind) - int(ExprKind::Sum)];
}

class Printer {
public:
  Printer(raw_ostream &os, bool marked) : os(os), marked(marked) {}

  void print(ExprAttr expr, Level place) {
    bool parens = levelOf(expr) < place;
    os << (parens ? "(" : "");
    printBare(expr);
    os << (parens ? ")" : "");
  }

private:
  void printBare(ExprAttr expr) {
    switch (expr.getKind()) {
    case ExprKind::Integer:
      os << expr.integer();
      return;
    case ExprKind::Float:
      os << floatText(expr.number());
      return;
    case ExprKind::Bool:
      os << (expr.boolean() ? "true" : "false");
      return;
    case ExprKind::Var:
      os << expr.getName();
      return;
    case ExprKind::Param:
      printName("param", expr.getName());
      return;
    case ExprKind::Dim:
      printName("dim", expr.getName());
      return;
    case ExprKind::Neg:
      os << "-";
      print(expr[0], kNeg);
      return;
    case ExprKind::Not:
      os << "not ";
      print(expr[0], kNot);
      return;
    case ExprKind::Call:
      os << expr.getName();
      printList(expr, "(", ")");
      return;
    case ExprKind::Read:
      os << expr.getName();
      printList(expr, "[", "]");
      return;
    case ExprKind::Member:
      print(expr[0], kAdd);
      os << " in ";
      print(expr[1], kPrimary);
      return;
    case ExprKind::Let:
      printLet(expr);
      return;
    default:
      break;
    }
    if (isReduction(expr.getKind()))
      return printReduction(expr);
    Infix infix = infixOf(expr.getKind());
    print(expr[0], infix.level == kCompare ? kAdd : infix.level);
    os << (marked && isComparison(expr.getKind()) ? wordOf(expr.getKind()) : infix.text);
    print(expr[1], Level(infix.level + 1));
  }

  void printName(const char *mark, StringRef name) {
    if (marked)
      os << mark << "(" << name << ")";
    else
      os << name;
  }

  void printList(ExprAttr expr, const char *open, const char *close) {
    os << open;
    for (size_t i = 0; i < expr.size(); ++i) {
      os << (i ? ", " : "");
      print(expr[i], kLet);
    }
    os << close;
  }

  void printLet(ExprAttr expr) {
    os << "let " << expr.getName() << " = ";
    print(expr[0], kOr);
    os << " : ";
    print(expr[1], kLet);
  }

  // The text of an attribute may hold no < or >, which MLIR would count as brackets.
  static const char *wordOf(ExprKind comparison) {
    static constexpr const char *kWords[] = {" lt ", " le ", " gt ", " ge ", " eq ", " ne "};
    return kWords[int(comparison) - int(ExprKind::Lt)];
  }

  void printRange(ExprAttr expr) {
    if (marked) {
      os << expr.getName() << ", ";
      print(expr[0], kAdd);
      os << ", ";
      print(expr[1], kAdd);
      return;
    }
    if (!expr[0].isInteger(0)) {
      print(expr[0], kAdd);
      os << " <= ";
    }
    os << expr.getName() << " < ";
    print(expr[1], kAdd);
  }

  void printReduction(ExprAttr expr) {
    os << reductionWord(expr.getKind()) << "[";
    printRange(expr);
    os << "] { ";
    print(expr[2], kLet);
    os << " }";
  }

  raw_ostream &os;
  bool marked;
};

} // namespace

std::string floatText(double value) {
  std::string text = fmt::format("{}", value);
  if (text.find('.') != std::string::npos)
    return text;
  size_t exponent = text.find('e');
  return text.insert(exponent == std::string::npos ? text.size() : exponent, ".0");
}

void print(ExprAttr expr, raw_ostream &os, bool marked) { Printer(os, marked).print(expr, kLet); }

void ExprAttr::print(AsmPrinter &printer) const {
  printer << "<{ ";
  pattern::print(*this, printer.getStream(), /*marked=*/true);
  printer << " }>";
}

} // namespace heddle::pattern
