// Reads a mix as weights of pairs: what its clauses allow, lengths and layout, heads, and every
// expression with what is static put in.
#include "compiler/forms/MixReader.h"

#include "compiler/forms/Features.h"

namespace heddle::compiler {

using namespace mlir;
using namespace terms;
using pattern::ExprKind;
using pattern::makeBinary;
using pattern::makeInteger;
using pattern::makeVar;

Status MixReader::checkAttributes() {
  if (mix.getUpdate() != pattern::UpdateKind::add)
    return unsupported("update {}: a weight of pairs would need the inverse of a triangular "
                       "matrix; it has a recurrent and a chunked form only",
                       pattern::stringifyUpdateKind(mix.getUpdate()).str());
  for (Attribute role : mix.getRoles()) {
    llvm::StringRef name = cast<StringAttr>(role).getValue();
    if (name == "in_bank" || name == "in_pool" || name == "in_position" || name == "in_run_pool")
      return unsupported("initial {}: a bank of states holds no keys to sum over; it has a "
                         "recurrent and a chunked form only",
                         name.drop_front(3).str());
    static constexpr llvm::StringRef kKnown[] = {
        "q",      "k",      "v",        "decay",    "bonus",     "in_state", "in_z",
        "cu_q",   "cu_k",   "table",    "indptr",   "len",       "gate",     "router",
        "pooled", "parent", "tap_prev", "tap_here", "in_k_last", "in_v_last"};
    if (!llvm::is_contained(kKnown, name))
      return unsupported("input {} of the mix is not lowered yet", name.str());
  }
  pattern::DecayKind decay = mix.getDecay();
  if (decay == pattern::DecayKind::channel)
    return unsupported("decay channel: a weight for each pair of features is not lowered yet");
  bool diagonal = decay == pattern::DecayKind::diag;
  if (diagonal && (mix.getDecaySymmetric() || mix.getWeight() == pattern::WeightKind::exp))
    return unsupported("decay diag, symmetric or under weight exp, is not lowered yet");
  if (mix.getRead() != pattern::ReadKind::post && !diagonal)
    return unsupported("read bonus without decay diag is not lowered yet");
  for (Value output : mix.getOutputs()) {
    unsigned index = cast<OpResult>(output).getResultNumber();
    llvm::StringRef role = cast<StringAttr>(mix.getResultRoles()[index]).getValue();
    static constexpr llvm::StringRef kGiven[] = {"o", "lse", "state", "z", "k_last", "v_last"};
    if (!llvm::is_contained(kGiven, role) && !output.use_empty())
      return unsupported("result {} ({}) is a state; the attention form has none",
                         pattern::valueName(output).str(), role.str());
  }
  return {};
}

/// Width, heads and length of an operand as its type has them.
Result<MixReader::Shape> MixReader::shapeOf(Value value, const char *role) {
  pattern::ArrayType type = pattern::arrayType(value);
  if (role[0] != 'q' && mix.getLayout() == pattern::LayoutKind::paged) {
    if (type.rank() != 4 || !isa<BlockArgument>(value))
      return unsupported("operand {} of the mix is no argument [pages, slots, H, D]", role);
    bool headsFirst = mix.getPageOrder() == pattern::PageOrder::hnd;
    return Shape{Extent(), graph.extentOf(type.dim(headsFirst ? 1 : 2)),
                 graph.extentOf(type.dim(3))};
  }
  bool subtokens = role[0] == 'q' ? mix.hasReadAxis() : mix.hasWriteAxis();
  if (type.rank() != (subtokens ? 4 : 3))
    return unsupported("operand {} of the mix is not [B, T, H, D]", role);
  if (subtokens)
    return Shape{graph.extentOf(type.dim(0)), graph.extentOf(type.dim(2)),
                 graph.extentOf(type.dim(3))};
  return Shape{graph.extentOf(type.dim(0)), graph.extentOf(type.dim(1)),
               graph.extentOf(type.dim(2))};
}

Status MixReader::readLayout() {
  Expr b = makeVar(context, "b"), one = makeInteger(context, 1);
  auto tensor = [&](const char *role) { return pattern::valueName(mix.input(role)); };
  bool isRing = mix.getLayout() == pattern::LayoutKind::ring;
  bool plain = mix.getFeaturesQ().empty() && mix.getFeaturesK().empty() && !mix.getCodecQ() &&
               !mix.getCodecK() && !mix.getCodecV();
  if (mix.getLayout() != pattern::LayoutKind::dense &&
      (mix.getDecay() != pattern::DecayKind::None || (!plain && !isRing)))
    return unsupported("feature maps, codecs and decays beside layout {} are not lowered yet",
                       pattern::stringifyLayoutKind(mix.getLayout()).str());
  if (mix.getLayout() == pattern::LayoutKind::varlen) {
    // Sequence b owns rows cu[b] .. cu[b + 1] of the packed tensors.
    const ProblemTensor &cu = *graph.find(tensor("cu_q"));
    problem.B = graph.extentOf(minus(graph.lengthExpr(cu.dim(0)), one));
    auto at = [&](const char *role, Expr n) { return read(tensor(role), {n}); };
    problem.startQ = at("cu_q", b), problem.startK = at("cu_k", b);
    problem.lenQ = minus(at("cu_q", sumOf(b, one)), problem.startQ);
    problem.lenK = minus(at("cu_k", sumOf(b, one)), problem.startK);
  } else if (mix.getLayout() == pattern::LayoutKind::paged) {
    pattern::ArrayType type = pattern::arrayType(mix.getK());
    problem.paging.headsFirst = mix.getPageOrder() == pattern::PageOrder::hnd;
    Extent slots = graph.extentOf(type.dim(problem.paging.headsFirst ? 2 : 1));
    HEDDLE_CHECK(reader.fixed("page size", slots, problem.paging.block));
    problem.paging.table = tensor("table").str();
    const ProblemTensor &table = *graph.find(problem.paging.table);
    problem.lenK = read(tensor("len"), {b});
    if (mix.input("indptr"))
      problem.paging.first = read(tensor("indptr"), {b});
    // No sequence has more keys than its table has slots.
    problem.Tk = graph.extentOf(
        times(graph.lengthExpr(table.dim(0)), makeInteger(context, problem.paging.block)));
  } else if (isRing) {
    readRing();
  }
  return {};
}

Status MixReader::readGroup() {
  if (problem.Hq == problem.Hk) {
    problem.G = 1;
  } else if (problem.Hq.fixed && problem.Hk.fixed) {
    if (*problem.Hk.fixed <= 0 || *problem.Hq.fixed % *problem.Hk.fixed != 0)
      return Error{ErrorCode::InvalidArgument,
                   fmt::format("{} query heads are no multiple of {} key heads", *problem.Hq.fixed,
                               *problem.Hk.fixed)};
    problem.G = *problem.Hq.fixed / *problem.Hk.fixed;
  } else if (auto group = reader.request.request.dims.find("G");
             group != reader.request.request.dims.end() && problem.Hq.name == "Hq" &&
             problem.Hk.name == "Hk") {
    problem.G = group->second;
  } else {
    problem.G = 0; // known at run time only
  }
  return {};
}

/// f32 if an operand is, else the half type that they share.
Status MixReader::chooseElement() {
  problem.element = reader.requested("");
  if (!isProductElement(problem.element))
    problem.element = Float32Type::get(context);
  if (problem.k.value || problem.v.value) // made of codes: widened once, not rounded again
    problem.element = Float32Type::get(context);
  for (const Operand *operand : {&problem.q, &problem.k, &problem.v})
    if (!operand->tensor.empty() && graph.find(operand->tensor)->element != problem.element)
      problem.element = Float32Type::get(context);
  return {};
}

/// Keys of the sequence at hand, by which positions count.
Expr MixReader::lengthOfKeys() {
  Expr known = problem.seenK ? problem.seenK : problem.lenK;
  return known ? known : graph.lengthExpr(problem.Tk);
}

Status MixReader::readExpressions(Expr score) {
  Expr h = makeVar(context, "h");
  Expr lengthQ = problem.lenQ ? problem.lenQ : graph.lengthExpr(problem.Tq);
  Expr lengthK = lengthOfKeys();
  // Head h of the output reads head floor(h Hk / H) of k.
  Expr hk = problem.G > 1 ? makeBinary(ExprKind::FloorDiv, h, makeInteger(context, problem.G))
                          : headOf(h, problem.Hk);
  problem.keyHead = graph.specialise(hk);
  auto ready = [&](Expr expr) {
    expr = resolved(expr);
    return expr ? graph.specialise(
                      rename(expr, {{"len_q", lengthQ}, {"len_k", lengthK}, {"hk", hk}}))
                : expr;
  };
  problem.score = rename(ready(score), {{"j", graph.specialise(keyOf(makeVar(context, "j")))}});
  problem.sink = ready(mix.getSinkAttr());
  problem.normArg = ready(mix.getNormArgAttr());
  HEDDLE_CHECK(readDecay(hk, ready(mix.getDecayExprAttr())));
  HEDDLE_CHECK(readTaps());
  HEDDLE_CHECK(readSegments());
  // Bounds know i only: row = i - off.
  Expr off = problem.bottomRight ? minus(lengthK, lengthQ) : makeInteger(context, 0);
  problem.support = pattern::simplify(rename(graph.specialise(inRing(ready(mix.getSupportAttr()))),
                                             {{"row", minus(makeVar(context, "i"), off)}}));
  return {};
}

Status MixReader::run() {
  HEDDLE_CHECK(checkAttributes());
  if (Value o = mix.output("o"); o && (!o.use_empty()))
    problem.o = pattern::valueName(o).str();
  if (Value lse = mix.output("lse"); lse && !lse.use_empty())
    problem.lse = pattern::valueName(lse).str();
  if (problem.o.empty() && mix.output("o"))
    problem.o = pattern::valueName(mix.output("o")).str();
  HEDDLE_TRY(q, shapeOf(mix.getQ(), "q"));
  HEDDLE_TRY(k, shapeOf(mix.getK(), "k"));
  problem.B = graph.extentOf(pattern::makeDim(context, "B"));
  problem.Tq = q.length, problem.Hq = q.heads;
  problem.Tk = k.length, problem.Hk = k.heads;
  problem.H = graph.extentOf(mix.outputHeads());
  problem.bottomRight = mix.getAlign() == pattern::Align::bottom_right;
  HEDDLE_CHECK(readLayout());
  if (!pattern::arrayType(mix.getQ()).getBatched() && !problem.startQ)
    return unsupported("queries without a batch are not lowered yet");
  for (Value output : mix.getOutputs())
    if (!output.use_empty() || output == mix.output("o"))
      HEDDLE_CHECK(reader.ensureTensor(output, Float32Type::get(context)));
  HEDDLE_CHECK(readGroup());
  HEDDLE_CHECK(readTree());
  HEDDLE_CHECK(readSubtokens());
  Expr score = resolved(mix.getScoreAttr());
  ArrayAttr featuresQ = mix.getFeaturesQ(), featuresK = mix.getFeaturesK();
  foldProductFeatures(graph, featuresQ, featuresK, score);
  HEDDLE_CHECK(
      readOperand(problem.q, mix.getQ(), "q", "row", "hq", mix.getCodecQAttr(), featuresQ));
  HEDDLE_CHECK(readOperand(problem.k, mix.getK(), "k", "j", "hk", mix.getCodecKAttr(), featuresK));
  HEDDLE_CHECK(readValues());
  problem.D = problem.q.width, problem.Dv = problem.v.width;
  if (problem.D != problem.k.width)
    return unsupported("queries have {} features and keys {}", problem.D, problem.k.width);
  HEDDLE_CHECK(chooseElement());
  auto isComputed = [&](const Operand &operand) {
    return operand.value || graph.find(operand.tensor)->element.isF32();
  };
  problem.powers = featuresQ.size() < mix.getFeaturesQ().size() && isComputed(problem.q) &&
                   isComputed(problem.k); // of f32 then
  HEDDLE_CHECK(readExpressions(score));
  HEDDLE_CHECK(readStates(featuresQ, featuresK));
  HEDDLE_CHECK(leaveTaps());
  HEDDLE_CHECK(leaveSubtokens());
  static_cast<PatternProblem &>(problem) = graph;
  graph.stages.push_back(std::move(problem));
  if (result)
    graph.stages.push_back(*result);
  return {};
}

} // namespace heddle::compiler
