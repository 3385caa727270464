// Scalars, views and control flow of a kernel. A scalar op that one op of its block reads becomes
// part of that op's expression; the others become constants with a name:
//
//   %0 = muli %qt, 64 ; %1 = minsi %0, %Tq   ->   const int i1 = min(qt * 64, Tq);
#include "compiler/targets/cuda/KernelEmitter.h"

#include "compiler/support/Emit.h"
#include "compiler/targets/cuda/Scalars.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Matchers.h"

#include <algorithm>

namespace heddle::compiler::cuda {

using namespace mlir;

KernelEmitter::KernelEmitter(tile::ProgramOp program, tile::KernelOp kernel, TensorMaps &maps)
    : program(program), kernel(kernel), maps(maps) {
  if (auto warps = kernel->getAttrOfType<IntegerAttr>("tile.warps"))
    warpCount = warps.getInt();
  if (auto bytes = kernel->getAttrOfType<IntegerAttr>("tile.shared"))
    shared = bytes.getInt();
  // Words that names must not hide.
  for (const char *word :
       {"p",    "int",  "float", "long",  "if",  "for",  "do",    "min",   "max",  "abs",   "warp",
        "lane", "quad", "group", "smem",  "x",   "auto", "const", "char",  "n",    "m",     "c",
        "k16",  "half", "pass",  "piece", "new", "this", "bool",  "short", "void", "or",    "and",
        "not",  "xor",  "u16",   "u32",   "i64", "else", "case",  "break", "asm",  "signed"})
    taken.insert(word);
}

// ---- names ----

std::string KernelEmitter::fresh(const std::string &wish) {
  // e8, r1, d4: loop variables over the values of a thread.
  constexpr std::string_view kLetters = "erijdl";
  const bool isLoops = kLetters.find(wish[0]) != kLetters.npos &&
                       wish.find_first_not_of("0123456789", 1) == wish.npos;
  const std::string stem = isLoops ? wish + "_" : wish;
  std::string name = isLoops && wish.size() == 1 ? wish : stem;
  for (int n = 2; !taken.insert(name).second; ++n)
    name = fmt::format("{}{}", stem, n);
  return name;
}

std::string KernelEmitter::nameFor(Value value, const std::string &otherwise) {
  if (auto location = dyn_cast<NameLoc>(value.getLoc()))
    return fresh(location.getName().str());
  return fresh(otherwise);
}

std::string KernelEmitter::once(const std::string &name, const std::string &type,
                                const std::string &expression) {
  auto [found, isNew] = declaredOnce.try_emplace(type + " " + expression, "");
  if (isNew) {
    found->second = fresh(name);
    top.line("const {} {} = {};", type, found->second, expression);
  }
  return found->second;
}

Status KernelEmitter::unsupported(Operation *op, const std::string &why) {
  return Error{ErrorCode::Unsupported,
               fmt::format("{} has no CUDA spelling: {}", op->getName().getStringRef().str(), why)};
}

// ---- scalars ----

/// Pure scalar ops with one reader in their own block.
bool KernelEmitter::isInlined(Operation *op) {
  if (isa<arith::ConstantOp>(op))
    return true;
  StringRef dialect = op->getName().getDialectNamespace();
  if ((dialect != "arith" && dialect != "math") || !op->getResult(0).hasOneUse())
    return false;
  return (*op->getResult(0).user_begin())->getBlock() == op->getBlock();
}

/// float(i - j) of two coordinates: conversions take four times as long as other instructions, so
/// what differs between a thread's values is added as a constant. "": another value.
std::string KernelEmitter::distance(Operation *op) {
  if (!isa<arith::SIToFPOp>(op) || !op->getResult(0).getType().isF32())
    return "";
  auto difference = op->getOperand(0).getDefiningOp<arith::SubIOp>();
  if (!difference)
    return "";
  std::string bases[2], steps[2];
  for (int n : {0, 1}) {
    Value from = difference->getOperand(n);
    auto wide = from.getDefiningOp<arith::ExtSIOp>();
    auto split = splits.find(wide ? wide.getIn() : from);
    if (split == splits.end())
      return "";
    std::tie(bases[n], steps[n]) = split->second;
  }
  std::string base = fmt::format("(float)({} - ({}))", bases[0], bases[1]);
  if (steps[0].empty() && steps[1].empty())
    return base;
  std::string step = steps[1].empty()
                         ? steps[0]
                         : fmt::format("{} - ({})", steps[0].empty() ? "0" : steps[0], steps[1]);
  return fmt::format("{} + (float)({})", base, step);
}

std::string KernelEmitter::rawScalar(Value value) {
  auto found = names.find(value);
  if (found != names.end())
    return found->second;
  Operation *op = value.getDefiningOp();
  assert(op && "a scalar without a name is an op's result");
  if (std::string text = distance(op); !text.empty())
    return text;
  std::vector<std::string> operands;
  for (Value operand : op->getOperands())
    operands.push_back(scalar(operand));
  return expression(op, operands).value_or("");
}

static bool isWord(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return std::isalnum(c) || c == '_'; });
}

std::string KernelEmitter::scalar(Value value) { return asOperand(rawScalar(value)); }

std::string KernelEmitter::offset(OpFoldResult value) {
  if (auto attribute = dyn_cast<Attribute>(value))
    return literal(attribute);
  return scalar(cast<Value>(value));
}

void KernelEmitter::declare(Value value, const std::string &expression) {
  std::string prefix = value.getType().isInteger(1) ? "is" : value.getType().isF32() ? "x" : "at";
  std::string name = nameFor(value, prefix);
  out.line("const {} {} = {};", typeText(value.getType()), name, expression);
  names[value] = name;
}

Status KernelEmitter::emitScalar(Operation *op) {
  std::vector<std::string> operands(op->getNumOperands(), "x");
  if (op->getNumResults() != 1 || !expression(op, operands))
    return unsupported(op, "expected ops of arith and math that C++ has");
  if (isInlined(op))
    return {};
  std::string text = rawScalar(op->getResult(0));
  // A cast of another constant needs no name of its own.
  if (op->getNumOperands() == 1 && op->getOperand(0).getDefiningOp() && isWord(text))
    names[op->getResult(0)] = text;
  else
    declare(op->getResult(0), text);
  return {};
}

std::string KernelEmitter::formula(tile::FormulaAttr formula) {
  std::vector<std::string> stack;
  for (const tile::FormulaStep &step : formula.getSteps()) {
    if (step.op == tile::FormulaOp::Constant) {
      stack.push_back(fmt::format("{}", step.value));
      continue;
    }
    if (step.op == tile::FormulaOp::Scalar) {
      stack.push_back(fmt::format("(int){}", parameters.scalar(step.name.getValue())));
      continue;
    }
    std::string b = stack.back();
    stack.pop_back();
    std::string &a = stack.back();
    switch (step.op) {
    case tile::FormulaOp::Add:
      a = fmt::format("({} + {})", a, b);
      break;
    case tile::FormulaOp::Sub:
      a = fmt::format("({} - {})", a, b);
      break;
    case tile::FormulaOp::Mul:
      a = fmt::format("{} * {}", a, b);
      break;
    case tile::FormulaOp::CeilDiv: // of numbers >= 0
      a = fmt::format("(({} + {} - 1) / {})", a, b, b);
      break;
    case tile::FormulaOp::FloorDiv:
      a = fmt::format("({} / {})", a, b);
      break;
    case tile::FormulaOp::Min:
      a = fmt::format("min({}, {})", a, b);
      break;
    default:
      a = fmt::format("max({}, {})", a, b);
      break;
    }
  }
  return stack.back();
}

// ---- views ----

/// Pointer to the first kept element, and the stride of each kept dimension.
void KernelEmitter::view(tile::ViewOp op) {
  if (!op->use_empty() && llvm::all_of(op->getUsers(), [](Operation *user) {
        auto put = dyn_cast<tile::PutOp>(user);
        return put && isFilledByTma(put.getRing());
      }))
    return; // TMA knows where the tensor lies
  std::string tensor = op.getName().str();
  Operation *declaration = program.findTensor(op.getName());
  bool isTensor = isa<tile::TensorOp>(declaration);
  ArrayAttr shape = isTensor ? cast<tile::TensorOp>(declaration).getShape()
                             : cast<tile::BufferOp>(declaration).getShape();
  int64_t rank = shape.size();
  // Rows lie less than 2^31 elements apart, whole sequences of a batch may lie further.
  const auto stride = [&](int64_t dim) -> std::string {
    const bool wide = dim == 0 && !op.getKept()[dim];
    const char *type = wide ? "i64" : "int";
    if (dim + 1 == rank)
      return "1";
    std::string value = wide ? "(i64)" : "";
    if (isTensor)
      value = fmt::format("({}){}", type, parameters.stride(tensor, dim));
    for (int64_t later = dim + 1; !isTensor && later < rank; ++later)
      value += fmt::format("{}{}", later == dim + 1 ? "" : " * ",
                           formula(cast<tile::FormulaAttr>(shape[later])));
    return once(fmt::format("{}_stride{}", tensor, dim), type, value);
  };
  ViewText text;
  text.pointer = parameters.pointer(tensor);
  size_t index = 0;
  for (int64_t dim = 0; dim < rank; ++dim) {
    if (op.getKept()[dim]) {
      text.strides.push_back(stride(dim));
      text.extents.push_back(formula(cast<tile::FormulaAttr>(shape[dim])));
      continue;
    }
    std::string at = scalar(op.getIndices()[index++]);
    if (at != "0")
      text.pointer += fmt::format(" + (i64){} * {}", at, stride(dim));
  }
  std::string name = fresh(tensor);
  out.line("auto *const {} = {};", name, text.pointer);
  text.pointer = name;
  if (op.getTable()) {
    const ViewText &table = views[op.getTable()];
    text.table = table.pointer;
    text.tableStride = table.strides[0];
  }
  views[op.getResult()] = text;
}

KernelEmitter::RowText KernelEmitter::rowOf(Value view, const std::string &row,
                                            const std::string &condition) {
  const ViewText &text = views[view];
  auto type = cast<tile::ViewType>(view.getType());
  const auto product = [](const std::string &factor, const std::string &stride) {
    return stride == "1" ? factor : fmt::format("(i64){} * {}", factor, stride);
  };
  const std::string name = fresh("at_row");
  out.line("const int {} = {};", name, row);
  if (type.getAccess() == tile::Access::Dense)
    return {fmt::format("{} + {}", text.pointer, product(name, text.strides[0])), ""};
  if (type.getAccess() == tile::Access::Wrap)
    return {fmt::format("{} + {}", text.pointer,
                        product(fmt::format("({} % {})", name, text.extents[0]), text.strides[0])),
            ""};
  const int64_t block = type.getBlock();
  const std::string entry = fresh("entry");
  std::string at = fmt::format("({} / {})", name, block);
  if (text.tableStride != "1")
    at = fmt::format("(i64){} * {}", at, text.tableStride);
  out.line("const int {} = {}{}[{}]{};", entry, condition.empty() ? "" : condition + " ? ",
           text.table, at, condition.empty() ? "" : " : -1");
  if (type.getAccess() == tile::Access::Paged)
    return {fmt::format("{} + {} + {}", text.pointer, product(entry, text.strides[0]),
                        product(fmt::format("({} % {})", name, block), text.strides[1])),
            entry + " >= 0"};
  const std::string listed = fresh("listed");
  out.line("const int {} = {} * {} + {} % {};", listed, entry, block, name, block);
  return {fmt::format("{} + {}", text.pointer, product(listed, text.strides[0])),
          fmt::format("{} >= 0 && {} < {}", entry, listed, text.extents[0])};
}

std::string KernelEmitter::access(Value view, ArrayRef<OpFoldResult> offsets,
                                  ArrayRef<std::string> inside) {
  const ViewText &text = views[view];
  std::string at;
  for (auto [dim, start] : llvm::enumerate(offsets)) {
    std::string index = offset(start);
    if (!inside.empty())
      index = index == "0" ? inside[dim] : fmt::format("({} + {})", index, inside[dim]);
    if (index == "0")
      continue;
    bool simple = index.find(' ') == index.npos || index[0] == '(';
    if (!simple)
      index = "(" + index + ")";
    at += at.empty() ? "" : " + ";
    at += text.strides[dim] == "1" ? index : fmt::format("(i64){} * {}", index, text.strides[dim]);
  }
  return fmt::format("{}[{}]", text.pointer, at.empty() ? "0" : at);
}

Status KernelEmitter::read(tile::ReadOp op) {
  declare(op.getResult(), access(op.getView(), op.getMixedOffsets(), {}));
  return {};
}

/// Elements at indices that a map computes; 0 where one is outside.
Status KernelEmitter::gather(tile::GatherOp op) {
  const ViewText &text = views[op.getView()];
  std::string inside, at;
  for (auto [dim, value] : llvm::enumerate(op.getIndices())) {
    std::string index = scalar(value);
    if (!isWord(index)) {
      std::string name = fresh("at");
      out.line("const int {} = {};", name, index);
      index = name;
    }
    inside += fmt::format("{}(unsigned){} < (unsigned){}", inside.empty() ? "" : " && ", index,
                          text.extents[dim]);
    at += at.empty() ? "" : " + ";
    at += text.strides[dim] == "1" ? index : fmt::format("(i64){} * {}", index, text.strides[dim]);
  }
  const std::string type = typeText(op.getType());
  if (inside.empty())
    declare(op.getResult(), fmt::format("{}[0]", text.pointer));
  else
    declare(op.getResult(), fmt::format("{} ? {}[{}] : ({})0", inside, text.pointer, at, type));
  return {};
}

// ---- control ----

Status KernelEmitter::block(Block &block) {
  for (Operation &op : block.without_terminator())
    HEDDLE_CHECK(emit(&op));
  return {};
}

Status KernelEmitter::emit(Operation *op) {
  StringRef dialect = op->getName().getDialectNamespace();
  if (dialect == "arith" || dialect == "math")
    return emitScalar(op);
  if (auto scalarOp = dyn_cast<tile::ScalarOp>(op)) {
    std::string type = typeText(scalarOp.getType());
    names[scalarOp] = once(scalarOp.getName().str(), type,
                           fmt::format("({}){}", type, parameters.scalar(scalarOp.getName())));
    return {};
  }
  if (auto viewOp = dyn_cast<tile::ViewOp>(op))
    return view(viewOp), Status();
  if (auto readOp = dyn_cast<tile::ReadOp>(op))
    return read(readOp);
  if (auto gatherOp = dyn_cast<tile::GatherOp>(op))
    return gather(gatherOp);
  if (auto loop = dyn_cast<tile::ForOp>(op))
    return emitFor(loop);
  if (auto branch = dyn_cast<scf::IfOp>(op))
    return emitIf(branch);
  if (auto mapOp = dyn_cast<tile::MapOp>(op))
    return map(mapOp);
  if (auto reduceOp = dyn_cast<tile::ReduceOp>(op))
    return reduce(reduceOp);
  if (auto mmaOp = dyn_cast<tile::MmaOp>(op))
    return mma(mmaOp);
  if (auto loadOp = dyn_cast<tile::LoadOp>(op))
    return loadTile(loadOp);
  if (auto storeOp = dyn_cast<tile::StoreOp>(op))
    return storeOp.getTile().getType().getSpace() == tile::Space::Smem ? storeRows(storeOp)
                                                                       : storeTile(storeOp);
  if (auto convert = dyn_cast<tile::ConvertOp>(op))
    return convert.getType().getSpace() == tile::Space::Smem ? toShared(convert)
                                                             : fromShared(convert);
  if (auto scanOp = dyn_cast<tile::ScanOp>(op))
    return scan(scanOp);
  if (auto solveOp = dyn_cast<tile::SolveUnitLowerOp>(op))
    return solve(solveOp);
  if (auto topkOp = dyn_cast<tile::TopkOp>(op))
    return topk(topkOp);
  if (auto putOp = dyn_cast<tile::PutOp>(op))
    return put(putOp);
  if (auto takeOp = dyn_cast<tile::TakeOp>(op))
    return take(takeOp), Status();
  if (auto sliceOp = dyn_cast<tile::SliceOp>(op))
    return slice(sliceOp), Status();
  if (auto voteOp = dyn_cast<tile::VoteOp>(op))
    return vote(voteOp), Status();
  if (isa<tile::CommitOp>(op))
    return out.line("commit_copies();"), Status();
  if (auto wait = dyn_cast<tile::WaitCopiesOp>(op))
    return out.line("wait_copies<{}>();", wait.getPending()), Status();
  if (isa<tile::BarrierOp>(op))
    return out.line("__syncthreads();"), Status();
  // Slots are freed by the next take's barrier; lazy tiles are written where they are read.
  if (auto ringOp = dyn_cast<tile::RingOp>(op))
    return ring(ringOp);
  if (isa<tile::ReleaseOp, tile::FillOp, tile::IndexOp>(op))
    return {};
  return unsupported(op, "not lowered for mma.sync yet");
}

Status KernelEmitter::emitIf(scf::IfOp branch) {
  if (branch.getNumResults() > 0 && !branch.elseBlock())
    return unsupported(branch, "results without an else");
  // Results lie where the else branch passes them on.
  for (auto [n, result] : llvm::enumerate(branch.getResults())) {
    auto yield = cast<scf::YieldOp>(branch.elseBlock()->getTerminator());
    Value kept = yield.getOperand(n);
    if (!isa<tile::TileType>(result.getType()) || !names.contains(kept))
      return unsupported(branch, "results that the else branch does not pass on");
    std::string variable = names[kept];
    names[result] = variable;
  }
  out.open(fmt::format("if ({})", rawScalar(branch.getCondition())));
  HEDDLE_CHECK(block(*branch.thenBlock()));
  if (branch.getNumResults() > 0) {
    auto yield = cast<scf::YieldOp>(branch.thenBlock()->getTerminator());
    for (auto [value, result] : llvm::zip(yield.getOperands(), branch.getResults()))
      if (names[value] != names[result])
        copyTile(value, names[result], Fragment(cast<tile::TileType>(value.getType())),
                 isPacked(value));
  }
  out.close();
  return {};
}

/// What a loop carries, by what makes its next value.
static const char *runningName(Value next) {
  for (tile::ForOp inner; (inner = next.getDefiningOp<tile::ForOp>());)
    next = inner.getYield().getValues()[cast<OpResult>(next).getResultNumber()];
  if (next.getDefiningOp<tile::MmaOp>())
    return "running_out";
  if (auto topk = next.getDefiningOp<tile::TopkOp>())
    return next == topk.getResultScore() ? "best_score" : "best_id";
  auto reduce = next.getDefiningOp<tile::ReduceOp>();
  if (reduce && reduce.getKind() == tile::Reduction::Sum)
    return "running_sum";
  auto map = next.getDefiningOp<tile::MapOp>();
  Operation *last = map ? map.getYield().getValues()[0].getDefiningOp() : nullptr;
  return reduce || isa_and_nonnull<arith::MaximumFOp>(last) ? "running_max"
         : isa_and_nonnull<arith::AddFOp>(last)             ? "running_sum"
                                                            : "carried";
}

/// Whether a loop's steps do nothing but read tensors and combine what they read.
static bool onlyReads(tile::ForOp loop) {
  return llvm::all_of(
             loop.getBody().front(),
             [](Operation &op) {
               return isa<tile::ViewOp, tile::LoadOp, tile::MapOp, tile::FillOp, tile::YieldOp>(
                          op) ||
                      !isa<tile::TileDialect>(op.getDialect());
             }) &&
         !loop.getBody().getOps<tile::LoadOp>().empty();
}

Status KernelEmitter::emitFor(tile::ForOp loop) {
  for (auto [n, init] : llvm::enumerate(loop.getInits())) {
    BlockArgument argument = loop.getIterArgs()[n];
    if (!isa<tile::TileType>(init.getType())) {
      // One variable runs through loops that hand it on.
      bool handedOn = init.getDefiningOp<tile::ForOp>() && init.hasOneUse();
      std::string name = handedOn ? names[init] : fresh("tile");
      if (!handedOn)
        out.line("{} {} = {};", typeText(init.getType()), name, rawScalar(init));
      names[argument] = name;
      names[loop.getResult(n)] = name;
      continue;
    }
    if (!takePlace(argument, init)) {
      std::string wish =
          isa<NameLoc>(loop.getYield().getValues()[n].getLoc())
              ? cast<NameLoc>(loop.getYield().getValues()[n].getLoc()).getName().str()
              : runningName(loop.getYield().getValues()[n]);
      Fragment fragment(cast<tile::TileType>(init.getType()));
      declareTile(argument, fresh(wish));
      copyTile(init, names[argument], fragment, isPacked(argument));
    }
    std::string variable = names[argument];
    names[loop.getResult(n)] = variable;
  }
  OperandRange bounds = loop.getBounds();
  int64_t step = loop.getStep();
  if (bounds.size() == 4 && isEmptyInterval(bounds[0], bounds[1]))
    bounds = bounds.drop_front(2);
  std::string index = fresh("j"), kind = tile::stringifyLoopKind(loop.getKind()).str();
  const bool inEdge = isa<tile::ForOp>(loop->getParentOp());
  out.comment(inEdge && loop.getKind() == tile::LoopKind::Edge ? "The tile in parts."
              : loop.getKind() == tile::LoopKind::Full         ? "Tiles wholly inside the support."
              : loop.getKind() == tile::LoopKind::Edge ? "Tiles at the support's edge: masked."
                                                       : "All tiles.");
  if (onlyReads(loop))
    out.line("#pragma unroll 4"); // so that the loads of four steps are on their way at once
  if (bounds.size() == 2) {
    out.open(fmt::format("for (int {0} = {1}; {0} < {2}; {0} += {3})", index, rawScalar(bounds[0]),
                         scalar(bounds[1]), step));
  } else {
    std::string left = fresh("left"), trips = fresh("trips"), trip = fresh("trip");
    const auto tiles = [&](Value begin, Value end) {
      return fmt::format("max(({} - {} + {}) / {}, 0)", scalar(end), scalar(begin), step - 1, step);
    };
    out.line("const int {} = {};", left, tiles(bounds[0], bounds[1]));
    out.line("const int {} = {} + {};", trips, left, tiles(bounds[2], bounds[3]));
    out.open(fmt::format("for (int {0} = 0; {0} < {1}; ++{0})", trip, trips));
    out.line("const int {} = {} < {} ? {} + {} * {} : {} + ({} - {}) * {};", index, trip, left,
             scalar(bounds[0]), trip, step, scalar(bounds[2]), trip, left, step);
  }
  names[loop.getIndex()] = index;
  HEDDLE_CHECK(block(loop.getBody().front()));
  emitYield(loop);
  out.close();
  return {};
}

void KernelEmitter::emitYield(tile::ForOp loop) {
  tile::YieldOp yield = loop.getYield();
  // A value that lies in another carried variable is saved before that is overwritten.
  for (auto [n, value] : llvm::enumerate(yield.getValues())) {
    bool elsewhere = false;
    for (auto [other, argument] : llvm::enumerate(loop.getIterArgs()))
      elsewhere |= other != n && isa<tile::TileType>(value.getType()) && names.contains(value) &&
                   names[value] == names[argument];
    if (!elsewhere)
      continue;
    Fragment fragment(cast<tile::TileType>(value.getType()));
    std::string saved = fresh("saved");
    out.line("{} {}{};", isPacked(value) ? "u32" : typeText(fragment.type.getElementType()), saved,
             extents(fragment, isPacked(value)));
    copyTile(value, saved, fragment, isPacked(value));
    names[value] = saved;
  }
  for (auto [value, argument] : llvm::zip(yield.getValues(), loop.getIterArgs())) {
    if (!isa<tile::TileType>(value.getType())) {
      out.line("{} = {};", names[argument], rawScalar(value));
    } else if (isLazy(value) || names[value] != names[argument]) {
      copyTile(value, names[argument], Fragment(cast<tile::TileType>(value.getType())),
               isPacked(argument));
    }
  }
}

Result<std::string> KernelEmitter::run() {
  // Launch order: `desc` counts down, so that the longest blocks start first.
  constexpr const char *kAxes[] = {"x", "y", "z"};
  for (auto [n, extent] : llvm::enumerate(kernel.getGrid().getAsRange<tile::FormulaAttr>())) {
    if (kernel.getGridIndex(n).use_empty())
      continue;
    std::optional<StringRef> scalarName = extent.asScalar();
    std::string name = fresh(scalarName ? scalarName->lower() : n == 0 ? "block" : "part");
    if (kernel.getDescending()[n])
      top.line("const int {} = gridDim.{} - 1 - blockIdx.{};", name, kAxes[n], kAxes[n]);
    else
      top.line("const int {} = blockIdx.{};", name, kAxes[n]);
    names[kernel.getGridIndex(n)] = name;
  }
  if (kernel.getRepeat())
    return unsupported(kernel, "repeated launches").error();
  HEDDLE_CHECK(block(kernel.getBody().front()));
  std::string text = out.text(), before = top.text(), heading;
  Source first(1);
  if (shared > 0) {
    first.line("extern __shared__ __align__(1024) unsigned char shared_memory[];");
    first.line("const u32 smem = (u32)__cvta_generic_to_shared(shared_memory);");
    initialiseBarriers(first);
  }
  const auto mentions = [&](std::string_view word) {
    return text.find(word) != text.npos || before.find(word) != before.npos;
  };
  if (mentions("lane") || mentions("quad") || mentions("group"))
    first.line("const int lane = threadIdx.x % 32;");
  if (mentions("warp"))
    first.line("const int warp = threadIdx.x / 32;");
  if (mentions("group"))
    first.line("const int group = lane / 4; // of four threads that share rows of fragments");
  if (mentions("quad"))
    first.line("const int quad = lane % 4;");
  return first.text() + before + text;
}

} // namespace heddle::compiler::cuda
