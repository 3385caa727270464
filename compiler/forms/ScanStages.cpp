// Reads a mix as a scan: tensors by role, expressions with what is static put in, and a map before
// it for feature maps that kernels of scans do not apply.
#include "compiler/forms/Features.h"
#include "compiler/forms/GraphReader.h"
#include "compiler/forms/ScanFeatures.h"

namespace heddle::compiler {

using namespace mlir;
using namespace terms;
using pattern::ExprKind;
using pattern::makeBinary;
using pattern::makeInteger;
using pattern::makeVar;

/// Feature maps that kernels of scans do not apply become a map before the mix, whose result then
/// stands for the operand.
Status GraphReader::mapScanFeatures(ScanProblem &scan, const char *role, ArrayAttr &features) {
  if (refuseFeatures(graph, features).empty())
    return {};
  bool query = role[0] == 'q';
  const ProblemTensor given = *scan.input(role);
  if (given.rank() != 3)
    return unsupported("feature maps of {} with subtokens are not lowered yet", role);
  Expr t = makeVar(context, "t"), h = makeVar(context, "h"), d = makeVar(context, "d");
  FeatureRow row;
  row.width = graph.lengthExpr(given.dim(2));
  row.at = [&](Expr feature) { return read(given.name, {t, h, feature}); };
  std::string refused;
  row = applyFeatures(graph, features, std::move(row), t, refused);
  if (!refused.empty())
    return unsupported("feature map {} of {} is not lowered yet for scans", refused, role);
  Expr expr = readExpr(row.at(d), scan.mix.getReads(), scan.mix.getReadNames());
  Expr length = graph.lengthExpr(scan.T);
  expr = rename(
      expr, {{query ? "i" : "j", t}, {"row", t}, {"hk", h}, {"len_q", length}, {"len_k", length}});
  std::string name = freshName(fmt::format("{}_of_{}", role, scan.results.lookup("o")));
  HEDDLE_CHECK(addBuffer(name, true, {given.dim(0), given.dim(1), graph.extentOf(row.width)},
                         given.element));
  graph.stages.push_back(MapStage{name,
                                  {"t", "h", "d"},
                                  graph.specialise(expr),
                                  fmt::format("features of {} that move between columns", role)});
  scan.inputs[role] = name;
  features = ArrayAttr::get(context, {});
  return {};
}

Status GraphReader::readScan(pattern::MixOp mix) {
  ScanProblem scan;
  scan.mix = mix;
  scan.context = context;
  for (auto [value, role] : llvm::zip(mix.getInputs(), mix.getRoles()))
    scan.inputs[cast<StringAttr>(role).getValue()] = pattern::valueName(value).str();
  for (auto [value, role] : llvm::zip(mix.getOutputs(), mix.getResultRoles())) {
    if (value.use_empty())
      continue;
    HEDDLE_CHECK(ensureTensor(value, Float32Type::get(context)));
    scan.results[cast<StringAttr>(role).getValue()] = pattern::valueName(value).str();
  }
  static_cast<PatternProblem &>(scan) = graph;
  for (const char *role : {"q", "k", "v"}) {
    const ProblemTensor *tensor = scan.input(role);
    bool subtokens = role[0] == 'q' ? mix.hasReadAxis() : mix.hasWriteAxis();
    if (!tensor || !tensor->batched || tensor->rank() != (subtokens ? 4u : 3u))
      return unsupported("operand {} of the mix is not [B, T, H, D]", role);
    if (!isProductElement(tensor->element))
      return unsupported("operand {} of the mix is neither f32 nor bf16 nor f16", role);
  }
  auto heads = [&](const char *role) {
    const ProblemTensor &tensor = *scan.input(role);
    return tensor.dim(tensor.rank() - 2);
  };
  scan.B = scan.input("k")->shape[0], scan.T = scan.input("k")->dim(0);
  scan.Hq = heads("q"), scan.Hk = heads("k"), scan.Hv = heads("v");
  if (auto group = request.request.dims.find("G"); group != request.request.dims.end())
    scan.givenG = group->second;
  scan.featuresQ = mix.getFeaturesQ(), scan.featuresK = mix.getFeaturesK();
  HEDDLE_CHECK(mapScanFeatures(scan, "q", scan.featuresQ));
  HEDDLE_CHECK(mapScanFeatures(scan, "k", scan.featuresK));
  Expr length = graph.lengthExpr(scan.T), h = makeVar(context, "h");
  Expr hk = scan.Hk == scan.Hv && scan.Hq == scan.Hk
                ? h
                : makeBinary(ExprKind::FloorDiv, times(h, graph.lengthExpr(scan.Hk)),
                             graph.lengthExpr(graph.extentOf(mix.outputHeads())));
  auto ready = [&](Expr expr) {
    expr = readExpr(expr, mix.getReads(), mix.getReadNames());
    return expr ? graph.specialise(rename(expr, {{"len_q", length}, {"len_k", length}, {"hk", hk}}))
                : expr;
  };
  scan.score = ready(mix.getScoreAttr());
  scan.normArg = ready(mix.getNormArgAttr());
  scan.constantDecay = ready(mix.getDecayExprAttr());
  scan.support =
      pattern::simplify(rename(ready(mix.getSupportAttr()), {{"row", makeVar(context, "i")}}));
  static_cast<PatternProblem &>(scan) = graph;
  HEDDLE_CHECK(compiler::readScan(scan));
  graph.stages.push_back(std::move(scan));
  return {};
}

} // namespace heddle::compiler
