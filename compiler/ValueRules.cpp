// Reads the rules off the operands and the supports of mixes.
//   layout varlen %cu_q, %cu_k        ->  cu_q, cu_k: offsets, at most the tokens of q, of k
//   support { j div 64 in list[i] }   ->  list: -1, or below ceil(Tk / 64)
#include "compiler/ValueRules.h"

#include "ir/pattern/ExprUtils.h"

namespace heddle::compiler {
namespace {

using pattern::ExprAttr;
using pattern::ExprKind;

class RuleReader {
public:
  RuleReader(pattern::DefOp def, const std::map<std::string, double> &constants)
      : def(def), constants(constants) {}

  std::vector<ValueRule> run() {
    for (auto mix : def.getBody().front().getOps<pattern::MixOp>()) {
      addStorage(mix);
      addRanges(mix);
      addLists(mix);
    }
    for (auto map : def.getBody().front().getOps<pattern::MapOp>())
      addWeights(map);
    return std::move(rules);
  }

private:
  /// The argument's position, or -1 for what an op makes (and for null).
  int32_t indexOf(mlir::Value value) {
    auto argument = mlir::dyn_cast_or_null<mlir::BlockArgument>(value);
    return argument ? static_cast<int32_t>(argument.getArgNumber()) : -1;
  }

  ValueRule *add(ValueRule::Kind kind, mlir::Value value) {
    int32_t index = indexOf(value);
    if (index < 0)
      return nullptr;
    ValueRule rule;
    rule.kind = kind;
    rule.tensor = index;
    rules.push_back(rule);
    return &rules.back();
  }

  /// The rule's limit is the extent `dim` (the batch not counted) of a value.
  bool limit(ValueRule *rule, mlir::Value of, int dim, int64_t divisor = 1) {
    int32_t index = indexOf(of);
    if (!rule || index < 0)
      return false;
    rule->limitOf = index;
    rule->limitDim = dim + (pattern::arrayType(of).getBatched() ? 1 : 0);
    rule->limitDivisor = divisor;
    return true;
  }

  void addStorage(pattern::MixOp mix) {
    for (auto [role, operand] : {std::pair("cu_q", mix.getQ()), std::pair("cu_k", mix.getK())})
      limit(add(ValueRule::Offsets, mix.input(role)), operand, 0);
    add(ValueRule::Parents, mix.input("parent"));
    add(ValueRule::NotNegative, mix.input("len"));
    addPosition(mix);
    bool headsFirst = mix.getPageOrder() == pattern::PageOrder::hnd;
    ValueRule *pages = add(ValueRule::Pages, mix.input("table"));
    if (!pages)
      return;
    pages->lengths = indexOf(mix.input("len"));
    pages->starts = indexOf(mix.input("indptr"));
    pages->slotDim = headsFirst ? 2 : 1;
    bool known = pages->lengths >= 0 && (pages->starts >= 0 || !mix.input("indptr"));
    if (!known || !limit(pages, mix.getK(), 0))
      rules.pop_back();
  }

  /// Tokens of earlier runs: with those of this one no more than the bank's levels or segments are
  /// for.
  void addPosition(pattern::MixOp mix) {
    ValueRule *position = add(ValueRule::NotNegative, mix.input("in_position"));
    if (!position || !mix.input("in_bank") || indexOf(mix.getK()) < 0)
      return;
    if (mix.getSegment() == pattern::SegmentKind::constant) {
      std::optional<int64_t> length = pattern::evaluateInteger(
          mix.getSegmentArgAttr(), [&](llvm::StringRef name) -> std::optional<int64_t> {
            auto found = constants.find(name.str());
            return found == constants.end() ? std::nullopt
                                            : std::optional<int64_t>(int64_t(found->second));
          });
      if (!length || *length < 1 || !limit(position, mix.input("in_bank"), 0, *length))
        return;
      position->kind = ValueRule::Segments;
    } else if (!limit(position, mix.input("in_bank"), 0)) {
      return;
    }
    position->lengths = indexOf(mix.getK());
    position->slotDim = pattern::arrayType(mix.getK()).getBatched() ? 1 : 0;
  }

  void addRanges(pattern::MixOp mix) {
    add(ValueRule::LogDecay, mix.getDecayInput());
    if (mix.getDecayExpr())
      pattern::walk(mix.getDecayExprAttr(), [&](ExprAttr e) {
        if (e.is(ExprKind::Read))
          add(isNegative(mix.getDecayExprAttr()) ? ValueRule::Rate : ValueRule::LogDecay,
              mix.read(e.getName()));
        return true;
      });
    if (mix.getUpdate() != pattern::UpdateKind::delta)
      return;
    ValueRule *rate = add(ValueRule::Rate, mix.getBeta());
    bool normalised = llvm::any_of(mix.getFeaturesK().getAsRange<pattern::FeatureAttr>(),
                                   [](auto map) { return map.getName().getValue() == "l2norm"; });
    if (!normalised)
      limit(rate, mix.getK(), static_cast<int>(pattern::arrayType(mix.getK()).rank()) - 1);
  }

  /// The sign of the expression where the tensors it reads hold positive numbers.
  static bool isNegative(ExprAttr expr) {
    switch (expr.getKind()) {
    case ExprKind::Neg:
      return !isNegative(expr[0]);
    case ExprKind::Mul:
    case ExprKind::Div:
      return isNegative(expr[0]) != isNegative(expr[1]);
    case ExprKind::Integer:
      return expr.integer() < 0;
    case ExprKind::Float:
      return expr.number() < 0;
    default:
      return false;
    }
  }

  /// j in list[..], or j div c in list[..].
  void addLists(pattern::MixOp mix) {
    pattern::walk(pattern::expandLets(mix.getSupportAttr()), [&](ExprAttr e) {
      if (e.is(ExprKind::Member) && e[1].is(ExprKind::Read))
        addList(mix, e[0], mix.read(e[1].getName()));
      bool promise = e.is(ExprKind::Call) && e.getName() == "ascending";
      if (promise && e[0].is(ExprKind::Read))
        addPromise(mix, e[0]);
      if (e.is(ExprKind::Eq) || e.is(ExprKind::Ne))
        addMask(mix, e);
      return true;
    });
  }

  void addList(pattern::MixOp mix, ExprAttr element, mlir::Value list) {
    bool blocks = element.is(ExprKind::FloorDiv);
    ExprAttr key = blocks ? element[0] : element;
    std::optional<int64_t> divisor = blocks ? constant(element[1]) : std::optional<int64_t>(1);
    bool dense = mix.getLayout() == pattern::LayoutKind::dense;
    if (!key.is(ExprKind::Var) || key.getName() != "j" || !divisor || *divisor < 1 || !dense)
      return;
    ValueRule *rule = add(ValueRule::List, list);
    if (rule && !limit(rule, mix.getK(), 0, *divisor))
      rules.pop_back();
  }

  /// A number, or the value of a constant of the pattern.
  std::optional<int64_t> constant(ExprAttr expr) {
    if (expr.is(ExprKind::Integer))
      return expr.integer();
    pattern::ParamAttr param = expr.is(ExprKind::Param) ? def.param(expr.getName()) : nullptr;
    if (!param || !param.getConstant())
      return std::nullopt;
    auto given = constants.find(expr.getName().str());
    if (given == constants.end() && param.required())
      return std::nullopt;
    return static_cast<int64_t>(given == constants.end() ? param.number() : given->second);
  }

  /// ascending(first[.., i]).
  void addPromise(pattern::MixOp mix, ExprAttr read) {
    ExprAttr last = read[read.size() - 1];
    if (last.is(ExprKind::Var) && (last.getName() == "i" || last.getName() == "row"))
      add(ValueRule::Ascending, mix.read(read.getName()));
  }

  /// sum[x < X] { w[.., x, ..] * .. }: w, which the batch shares, is the matrix of a linear map.
  void addWeights(pattern::MapOp map) {
    pattern::walk(pattern::expandLets(map.getExprAttr()), [&](ExprAttr sum) {
      if (sum.is(ExprKind::Sum))
        pattern::walk(sum, [&](ExprAttr e) {
          for (int side : {0, 1})
            if (e.is(ExprKind::Mul) && e[side].is(ExprKind::Read))
              addWeight(map.read(e[side].getName()), e[side], sum.getName());
          return true;
        });
      return true;
    });
  }

  void addWeight(mlir::Value value, ExprAttr read, llvm::StringRef summed) {
    int32_t index = indexOf(value);
    if (index < 0 || read.size() < 2 || pattern::arrayType(value).getBatched() ||
        pattern::arrayType(value).holdsIntegers())
      return;
    bool known = llvm::any_of(rules, [&](const ValueRule &rule) { return rule.tensor == index; });
    for (size_t n = 0; n < read.size() && !known; ++n)
      if (read[n].is(ExprKind::Var) && read[n].getName() == summed) {
        limit(add(ValueRule::Weight, value), value, static_cast<int>(n));
        return;
      }
  }

  /// A tensor of integers compared with a number is a mask.
  void addMask(pattern::MixOp mix, ExprAttr e) {
    for (int side : {0, 1})
      if (e[side].is(ExprKind::Read) && e[1 - side].is(ExprKind::Integer))
        add(ValueRule::Mask, mix.read(e[side].getName()));
  }

  pattern::DefOp def;
  const std::map<std::string, double> &constants;
  std::vector<ValueRule> rules;
};

} // namespace

std::vector<ValueRule> valueRulesOf(pattern::DefOp def,
                                    const std::map<std::string, double> &constants) {
  return RuleReader(def, constants).run();
}

} // namespace heddle::compiler
