// Reads a pattern whose graph is one mix of its arguments, and puts everything static into its
// expressions:
//
//   score { cap * tanh(s * rsqrt(D) / cap) }, D = 128, cap = 50.0
//     ->  50 * tanh(s * 0.0883883 / 50)
#include "compiler/forms/MixProblem.h"

#include <fmt/format.h>

#include <cmath>

namespace heddle::compiler {

using namespace mlir;
using pattern::ExprKind;

const ProblemTensor *MixProblem::find(llvm::StringRef name) const {
  for (const ProblemTensor &tensor : tensors)
    if (tensor.name == name)
      return &tensor;
  return nullptr;
}

Expr MixProblem::specialise(Expr expr) const {
  return expr ? pattern::simplify(pattern::substitute(pattern::expandLets(expr), statics)) : expr;
}

namespace {

template <typename... Args> Error unsupported(fmt::format_string<Args...> text, Args &&...args) {
  return {ErrorCode::Unsupported, fmt::format(text, std::forward<Args>(args)...)};
}

Type elementOf(MLIRContext *context, DType type) {
  switch (type) {
  case DType::F64:
    return Float64Type::get(context);
  case DType::F32:
    return Float32Type::get(context);
  case DType::BF16:
    return BFloat16Type::get(context);
  case DType::F16:
    return Float16Type::get(context);
  case DType::F8E4M3:
    return Float8E4M3FNType::get(context);
  case DType::F8E5M2:
    return Float8E5M2Type::get(context);
  case DType::I64:
    return IntegerType::get(context, 64);
  case DType::I32:
    return IntegerType::get(context, 32);
  case DType::I8:
    return IntegerType::get(context, 8);
  case DType::U8:
    return IntegerType::get(context, 8, IntegerType::Unsigned);
  }
  return Float32Type::get(context);
}

class Reader {
public:
  explicit Reader(const FormRequest &request)
      : request(request), def(request.def), context(def.getContext()) {
    problem.context = context;
  }

  Result<MixProblem> run() {
    HEDDLE_CHECK(findMix());
    HEDDLE_CHECK(checkAttributes());
    HEDDLE_CHECK(readScalars());
    HEDDLE_CHECK(readTensors());
    HEDDLE_CHECK(readShape());
    HEDDLE_CHECK(readExpressions());
    return std::move(problem);
  }

private:
  pattern::MixOp mix() { return problem.mix; }

  Status findMix() {
    for (Operation &op : def.getBody().front()) {
      if (auto found = dyn_cast<pattern::MixOp>(op)) {
        if (problem.mix)
          return unsupported("the pattern has more than one mix; programs of several mixes are not "
                             "lowered yet");
        problem.mix = found;
      } else if (isa<pattern::MapOp, pattern::SelectOp, pattern::MergeOp>(op)) {
        return unsupported("op {} beside the mix is not lowered yet",
                           op.getName().stripDialect().str());
      }
    }
    if (!problem.mix)
      return unsupported("the pattern has no mix");
    for (Value value : def.returned().getResults())
      if (value.getDefiningOp() != problem.mix)
        return unsupported("the pattern returns a value that is not a result of its mix");
    return {};
  }

  Status checkAttributes() {
    if (mix().getUpdate() != pattern::UpdateKind::add)
      return unsupported("update {}: a weight of pairs would need the inverse of a triangular "
                         "matrix; it has a recurrent and a chunked form only",
                         pattern::stringifyUpdateKind(mix().getUpdate()).str());
    if (mix().getWrites() || mix().getReadouts())
      return unsupported("subtokens are not lowered yet");
    if (mix().getRead() != pattern::ReadKind::post)
      return unsupported("read bonus is not lowered yet");
    if (mix().getSegment() != pattern::SegmentKind::None)
      return unsupported("segments and their gates are not lowered yet");
    if (mix().getLayout() != pattern::LayoutKind::dense)
      return unsupported("layout {} is not lowered yet",
                         pattern::stringifyLayoutKind(mix().getLayout()).str());
    if (mix().getCodecQ() || mix().getCodecK() || mix().getCodecV())
      return unsupported("codecs of q, k and v are not lowered yet");
    if (!mix().getFeaturesQ().empty() || !mix().getFeaturesK().empty())
      return unsupported("feature maps of q and k are not lowered yet");
    for (Attribute role : mix().getRoles()) {
      llvm::StringRef name = cast<StringAttr>(role).getValue();
      if (name != "q" && name != "k" && name != "v")
        return unsupported("input {} of the mix is not lowered yet", name.str());
    }
    if (mix().getDecay() != pattern::DecayKind::None &&
        mix().getDecay() != pattern::DecayKind::constant)
      return unsupported("decay {}: prefix sums of decays are not lowered yet",
                         pattern::stringifyDecayKind(mix().getDecay()).str());
    return {};
  }

  // ---- scalars ----

  Expr numberExpr(double value, bool integer) {
    return integer ? pattern::makeInteger(context, int64_t(value))
                   : pattern::makeFloat(context, value);
  }

  Status readScalars() {
    for (auto [name, extent] : request.request.dims)
      problem.statics[name] = pattern::makeInteger(context, extent);
    for (Attribute attribute : def.getParams()) {
      auto param = cast<pattern::ParamAttr>(attribute);
      std::string name = param.getName().str();
      if (!param.getConstant()) {
        problem.params.push_back(
            {name, param.getInteger(), param.required() ? 0.0 : param.number()});
        problem.scope.names[name] =
            param.getInteger() ? pattern::ExprType::Integer : pattern::ExprType::Real;
        continue;
      }
      auto given = request.request.constants.find(name);
      if (given == request.request.constants.end() && param.required())
        return Error{ErrorCode::InvalidArgument,
                     fmt::format("constant {} has no value and no default, give one", name)};
      double value = given == request.request.constants.end() ? param.number() : given->second;
      if (!std::isfinite(value))
        return Error{ErrorCode::InvalidArgument,
                     fmt::format("constant {} is {}, expected a finite number", name, value)};
      problem.statics[name] = numberExpr(value, param.getInteger());
    }
    for (auto [name, type] :
         {std::pair("i", pattern::ExprType::Integer), std::pair("j", pattern::ExprType::Integer),
          std::pair("row", pattern::ExprType::Integer), std::pair("b", pattern::ExprType::Integer),
          std::pair("h", pattern::ExprType::Integer), std::pair("s", pattern::ExprType::Real)})
      problem.scope.names[name] = type;
    return {};
  }

  Result<Extent> extentOf(Expr dim) {
    Expr known = problem.specialise(dim);
    if (known.is(ExprKind::Integer))
      return Extent{known.integer(), ""};
    if (!known.is(ExprKind::Dim))
      return unsupported("extent {} of an argument is a formula, expected a name or a number",
                         known.str());
    std::string name = known.getName().str();
    if (!llvm::is_contained(problem.extents, name)) {
      problem.extents.push_back(name);
      problem.scope.names[name] = pattern::ExprType::Integer;
    }
    return Extent{std::nullopt, name};
  }

  // ---- tensors ----

  Result<ProblemTensor> tensorOf(const std::string &name, pattern::ArrayType type) {
    ProblemTensor tensor;
    tensor.name = name;
    tensor.batched = type.getBatched();
    tensor.element = type.getElement();
    if (!tensor.element) {
      const auto &dtypes = request.request.dtypes;
      auto found = dtypes.contains(name) ? dtypes.find(name) : dtypes.find("*");
      tensor.element = elementOf(context, found == dtypes.end() ? DType::F32 : found->second);
    }
    if (tensor.batched) {
      HEDDLE_TRY(batch, extentOf(pattern::makeDim(context, "B")));
      tensor.shape.push_back(batch);
    }
    for (size_t n = 0; n < type.rank(); ++n) {
      HEDDLE_TRY(extent, extentOf(type.dim(n)));
      tensor.shape.push_back(extent);
    }
    return tensor;
  }

  std::string argumentName(Value value) {
    auto argument = dyn_cast_or_null<BlockArgument>(value);
    return argument ? def.argumentName(argument.getArgNumber()).str() : "";
  }

  Status readTensors() {
    for (size_t n = 0; n < def.numArguments(); ++n) {
      std::string name = def.argumentName(n).str();
      HEDDLE_TRY(tensor, tensorOf(name, def.argumentType(n)));
      problem.scope.tensors[name] = {int64_t(tensor.shape.size()) - tensor.batched, tensor.batched,
                                     tensor.isInteger()};
      problem.tensors.push_back(std::move(tensor));
    }
    for (Value value : def.returned().getResults()) {
      unsigned index = cast<OpResult>(value).getResultNumber();
      std::string name = cast<StringAttr>(mix().getNames()[index]).str();
      llvm::StringRef role = cast<StringAttr>(mix().getResultRoles()[index]).getValue();
      if (role != "o" && role != "lse")
        return unsupported("result {} ({}) is a state; only the recurrent and chunked forms have "
                           "one",
                           name, role.str());
      HEDDLE_TRY(tensor, tensorOf(name, cast<pattern::ArrayType>(value.getType())));
      tensor.isResult = true;
      (role == "o" ? problem.o : problem.lse) = name;
      problem.tensors.push_back(std::move(tensor));
    }
    problem.q = argumentName(mix().getQ());
    problem.k = argumentName(mix().getK());
    problem.v = mix().getV() ? argumentName(mix().getV()) : problem.k;
    return {};
  }

  // ---- shape ----

  Status fixed(const char *what, const Extent &extent, int64_t &value) {
    if (!extent.fixed)
      return Error{ErrorCode::InvalidArgument,
                   fmt::format("{} {} is not fixed by the request, give it as a static dim", what,
                               extent.name)};
    value = *extent.fixed;
    return {};
  }

  Status readShape() {
    for (const std::string &name : {problem.q, problem.k, problem.v}) {
      const ProblemTensor *tensor = problem.find(name);
      if (!tensor || !tensor->batched || tensor->shape.size() != 4)
        return unsupported("operand {} of the mix is not an argument [B, T, H, D]", name);
      if (!isa<Float32Type, BFloat16Type, Float16Type>(tensor->element))
        return unsupported("operand {} of the mix is neither f32 nor bf16 nor f16", name);
      if (tensor->element != problem.find(problem.q)->element)
        return unsupported("operands {} and {} differ in their element types", problem.q, name);
    }
    const ProblemTensor &q = *problem.find(problem.q), &k = *problem.find(problem.k),
                        &v = *problem.find(problem.v);
    problem.B = q.shape[0];
    problem.Tq = q.shape[1], problem.Hq = q.shape[2];
    problem.Tk = k.shape[1], problem.Hk = k.shape[2];
    if (v.shape[1] != problem.Tk || v.shape[2] != problem.Hk)
      return unsupported("v has other lengths or heads than k");
    HEDDLE_CHECK(fixed("head size", q.shape[3], problem.D));
    HEDDLE_CHECK(readValueWidth(v));
    problem.bottomRight = mix().getAlign() == pattern::Align::bottom_right;
    return readGroup();
  }

  Status readValueWidth(const ProblemTensor &v) {
    if (!mix().getAliasSize())
      return fixed("head size", v.shape[3], problem.Dv);
    HEDDLE_TRY(first, extentOf(mix().getAliasFirstAttr()));
    HEDDLE_TRY(size, extentOf(mix().getAliasSizeAttr()));
    HEDDLE_CHECK(fixed("first feature of v", first, problem.firstValueFeature));
    return fixed("number of features of v", size, problem.Dv);
  }

  Status readGroup() {
    if (problem.Hq == problem.Hk) {
      problem.G = 1;
    } else if (problem.Hq.fixed && problem.Hk.fixed) {
      if (*problem.Hk.fixed <= 0 || *problem.Hq.fixed % *problem.Hk.fixed != 0)
        return Error{ErrorCode::InvalidArgument,
                     fmt::format("{} query heads are no multiple of {} key heads",
                                 *problem.Hq.fixed, *problem.Hk.fixed)};
      problem.G = *problem.Hq.fixed / *problem.Hk.fixed;
    } else if (auto group = request.request.dims.find("G"); group != request.request.dims.end()) {
      problem.G = group->second;
    } else {
      return Error{ErrorCode::InvalidArgument,
                   "the head group G = Hq / Hk is not fixed by the request, give it as a static "
                   "dim"};
    }
    return {};
  }

  // ---- expressions ----

  Expr lengthExpr(const Extent &extent) {
    return extent.fixed ? pattern::makeInteger(context, *extent.fixed)
                        : pattern::makeDim(context, extent.name);
  }

  Status readExpressions() {
    auto binary = pattern::makeBinary;
    problem.statics["G"] = pattern::makeInteger(context, problem.G);
    problem.statics["len_q"] = lengthExpr(problem.Tq);
    problem.statics["len_k"] = lengthExpr(problem.Tk);
    problem.statics["hk"] = binary(ExprKind::FloorDiv, pattern::makeVar(context, "h"),
                                   pattern::makeInteger(context, problem.G));
    for (Attribute attribute : def.getLets()) {
      auto let = cast<pattern::LetAttr>(attribute);
      problem.statics[let.getName()] = problem.specialise(let.getExpr());
    }
    problem.score = problem.specialise(mix().getScoreAttr());
    problem.sink = problem.specialise(mix().getSinkAttr());
    problem.decay = problem.specialise(mix().getDecayExprAttr());
    // Bounds know i only: row = i - off.
    Expr off = problem.bottomRight
                   ? binary(ExprKind::Sub, lengthExpr(problem.Tk), lengthExpr(problem.Tq))
                   : pattern::makeInteger(context, 0);
    llvm::StringMap<Expr> rows;
    rows["row"] = binary(ExprKind::Sub, pattern::makeVar(context, "i"), off);
    problem.support =
        pattern::simplify(pattern::substitute(problem.specialise(mix().getSupportAttr()), rows));
    return {};
  }

  const FormRequest &request;
  pattern::DefOp def;
  MLIRContext *context;
  MixProblem problem;
};

} // namespace

Result<MixProblem> readMixProblem(const FormRequest &request) { return Reader(request).run(); }

} // namespace heddle::compiler
