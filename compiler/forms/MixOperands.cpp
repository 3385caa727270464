// Operands of a mix of pairs: a tensor as it is, an expression that is computed where the operand
// is read (codes, features of q), or the result of a map before the mix (features of k).
#include "compiler/forms/Features.h"
#include "compiler/forms/MixReader.h"

namespace heddle::compiler {

using namespace mlir;
using namespace terms;
using pattern::ExprKind;
using pattern::makeBinary;
using pattern::makeInteger;
using pattern::makeVar;

/// What stands at feature `d` of operand `role`, before its feature maps: null for a plain tensor
/// element. Token and head are the variables `token` and `head`.
Expr MixReader::elementExpr(Value value, const char *role, const char *token, const char *head,
                            Expr codec) {
  Expr t = makeVar(context, token), h = makeVar(context, head), d = makeVar(context, "d");
  // Where the element lies: sub-tokens are rows of their token.
  llvm::SmallVector<Expr> at{t, h, d};
  if (int64_t rows = rowsOf(role)) {
    Expr count = makeInteger(context, rows);
    at = {makeBinary(ExprKind::FloorDiv, t, count), makeBinary(ExprKind::Mod, t, count), h, d};
  }
  auto found = reader.inlined.find(value.getAsOpaquePointer());
  Expr expr;
  if (found != reader.inlined.end()) {
    llvm::StringMap<Expr> names;
    for (auto [name, index] : llvm::zip_equal(found->second.vars, at))
      names[name] = index;
    expr = pattern::substitute(found->second.expr, names);
  } else if (rowsOf(role)) {
    expr = read(pattern::valueName(value), at);
  }
  if (codec) {
    Expr x = expr ? expr : read(pattern::valueName(value), at);
    expr = rename(resolved(codec), {{"x", x},
                                    {"hk", h},
                                    {role[0] == 'q' ? "h" : "hk", h},
                                    {"j", keyOf(makeVar(context, "j"))}});
  }
  return expr;
}

Status MixReader::readOperand(Operand &operand, Value value, const char *role, const char *token,
                              const char *head, Expr codec, ArrayAttr features) {
  HEDDLE_TRY(shape, shapeOf(value, role));
  operand.heads = shape.heads;
  HEDDLE_CHECK(reader.fixed("head size", shape.width, operand.width));
  if (rowsOf(role))
    token = "u'"; // its token is another name
  Expr base = elementExpr(value, role, token, head, codec);
  if (!base) {
    operand.tensor = pattern::valueName(value).str();
    if (!isProductElement(graph.find(operand.tensor)->element))
      return unsupported("operand {} of the mix is neither f32 nor bf16 nor f16", role);
  }
  operand.value = base;
  if (!features)
    features = ArrayAttr::get(context, {});
  if (rowsOf(role) || !features.empty())
    HEDDLE_CHECK(mapFeatures(operand, role, token, head, features, shape));
  return {};
}

Status MixReader::mapFeatures(Operand &operand, const char *role, const char *token,
                              const char *head, ArrayAttr features, const Shape &shape) {
  Expr t = makeVar(context, token), h = makeVar(context, head), d = makeVar(context, "d");
  FeatureRow row;
  row.width = makeInteger(context, operand.width);
  row.at = [base = operand.value, name = operand.tensor, t, h](Expr feature) {
    return base ? rename(base, {{"d", feature}}) : read(name, {t, h, feature});
  };
  // Arguments of features name the head of the output where operands have fewer.
  if (role[0] == 'k' && problem.Hk != problem.H)
    for (Attribute feature : features)
      for (NamedAttribute argument : cast<pattern::FeatureAttr>(feature).getArguments())
        if (auto expr = dyn_cast<Expr>(argument.getValue());
            expr && llvm::is_contained(pattern::freeVars(expr), "h"))
          return unsupported("a feature of k reads the query head h");
  std::string refused;
  Expr position = role[0] == 'q' ? makeVar(context, "i") : keyOf(makeVar(context, "j"));
  row = applyFeatures(graph, features, std::move(row), position, refused);
  if (!refused.empty())
    return unsupported("feature map {} of {} alone is not lowered yet", refused, role);
  Extent width = graph.extentOf(row.width);
  HEDDLE_CHECK(reader.fixed("width after the feature maps", width, operand.width));
  Expr expr = resolved(row.at(d));
  expr = rename(expr, {{"len_q", graph.lengthExpr(problem.Tq)},
                       {"len_k", lengthOfKeys()},
                       {role[0] == 'q' ? "h" : "hk", h},
                       {"h", h}});
  bool query = role[0] == 'q';
  int64_t rows = rowsOf(role);
  Extent length = shape.length;
  if (rows) {
    Expr own = makeBinary(ExprKind::FloorDiv, t, makeInteger(context, rows));
    expr = rename(expr, {{"i", own}, {"row", own}, {"j", own}});
    length = graph.extentOf(
        graph.specialise(times(graph.lengthExpr(length), makeInteger(context, rows))));
  }
  expr = graph.specialise(expr);
  if (!rows && ((query && !reduces(expr)) || isCheap(expr))) {
    operand.value = expr;
    operand.tensor.clear();
    return {};
  }
  std::string name = reader.freshName(fmt::format("{}_of_{}", role, problem.o));
  HEDDLE_CHECK(reader.addBuffer(name, true, {length, shape.heads, width}, reader.requested("")));
  if (query && problem.bottomRight) // positions of bottom-right rows
    expr = rename(expr, {{"i", sumOf(t, minus(lengthOfKeys(), graph.lengthExpr(problem.Tq)))}});
  else if (query)
    expr = rename(expr, {{"i", t}});
  graph.stages.push_back(MapStage{name,
                                  {token, head, "d"},
                                  graph.specialise(expr),
                                  rows ? "sub-tokens side by side, and their features"
                                  : query
                                      ? "features of q that join a whole row"
                                      : "features of k, which every tile of queries reads again"});
  operand.tensor = name;
  operand.value = {};
  return {};
}

Status MixReader::readValues() {
  if (!mix.getAliasSize())
    return readOperand(problem.v, mix.getV(), "v", "j", "hv", mix.getCodecVAttr(), {});
  if (!mix.getFeaturesK().empty() || mix.getCodecK() || problem.k.tensor.empty())
    return unsupported("values that are an alias of keys with feature maps or a codec are not "
                       "lowered yet");
  problem.v = problem.k;
  HEDDLE_CHECK(
      reader.fixed("first feature of v", graph.extentOf(mix.getAliasFirstAttr()), problem.v.first));
  return reader.fixed("number of features of v", graph.extentOf(mix.getAliasSizeAttr()),
                      problem.v.width);
}

} // namespace heddle::compiler
