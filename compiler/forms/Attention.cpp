// The form: what it refuses, the maps before mixes whose supports read lists, and the kernels of
// each stage in order. AttentionWriter.h writes those of a mix.
#include "compiler/forms/Attention.h"

#include "compiler/forms/AttentionWriter.h"
#include "compiler/forms/Graph.h"
#include "compiler/forms/MapKernels.h"
#include "compiler/forms/TileSkips.h"

namespace heddle::compiler {

using namespace mlir;

namespace {

/// Whether the heads of a key head can be the rows of a tile: their number must be known.
bool canPack(const MixProblem &problem) {
  return problem.G > 0 && problem.Hq == problem.H && problem.v.heads == problem.Hk;
}

bool hasOneRow(const FormRequest &request, const MixProblem &problem) {
  if (!canPack(problem))
    return false;
  if (problem.Tq.fixed)
    return *problem.Tq.fixed == 1;
  auto found = request.request.extents.find(problem.Tq.name);
  // Where both lengths have one name there is one key as well: nothing to split.
  return found != request.request.extents.end() && found->second.bound == ExtentClass::One &&
         problem.Tq != problem.Tk;
}

std::string refuseProblem(const MixProblem &problem) {
  pattern::MixOp mix = problem.mix;
  bool exponential = mix.getWeight() == pattern::WeightKind::exp;
  if (problem.o.empty())
    return "the pattern does not return the output of its mix";
  if (exponential && mix.getNormArg())
    return "an epsilon in the norm of weight exp is not lowered yet";
  if (exponential && mix.getNorm() == pattern::NormKind::max_abs)
    return "norm max_abs with weight exp is not lowered yet";
  for (Expr expr : {problem.support, weightsOf(problem).expr, problem.sink, problem.normArg,
                    problem.q.value, problem.k.value, problem.v.value, problem.entry, problem.gate})
    if (expr)
      if (std::string reason = TileScope::refuse(expr, problem); !reason.empty())
        return reason;
  return "";
}

std::string refuseStage(const Graph &graph, const Stage &stage) {
  if (auto map = std::get_if<MapStage>(&stage))
    return refuseMap(graph, *map);
  if (auto mix = std::get_if<MixProblem>(&stage))
    return refuseProblem(*mix);
  return "";
}

/// Rows of one query, packed, take about this many times longer for a pair than tiles of rows.
constexpr int64_t kPackedPrice = 5;

/// Puts the maps before mixes whose supports read lists and masks of blocks. Where lists are much
/// shorter than the keys, tiles of rows that share few blocks are worse than one query at a time:
/// such mixes get both kernels; the second's problem is returned by the name of its output.
llvm::StringMap<MixProblem> planLists(const FormRequest &request, Graph &graph) {
  llvm::StringMap<MixProblem> packed;
  std::vector<Stage> stages;
  int64_t least = std::min<int64_t>(request.schedule.at("BN"), 16);
  for (Stage &stage : graph.stages) {
    auto mix = std::get_if<MixProblem>(&stage);
    bool oneRow = mix && hasOneRow(request, *mix);
    MixProblem whole = mix ? *mix : MixProblem();
    std::optional<MapStage> map;
    if (mix)
      map = planSkips(graph, *mix, oneRow ? 1 : request.schedule.at("BM"), least, oneRow);
    if (map)
      stages.push_back(*map);
    if (map && !oneRow && mix->listed > 0 && canPack(whole)) {
      if (std::optional<MapStage> byRow = planSkips(graph, whole, 1, least, true)) {
        stages.push_back(*byRow);
        packed[mix->o] = whole;
      }
    }
    stages.push_back(std::move(stage));
  }
  graph.stages = std::move(stages);
  return packed;
}

void writeMix(ProgramWriter &program, const FormRequest &request, const MixProblem &mix,
              const llvm::StringMap<MixProblem> &packed, const std::string &suffix) {
  auto byRow = packed.find(mix.o);
  if (byRow == packed.end()) {
    AttentionWriter writer(mix, request.schedule, suffix);
    if (!hasOneRow(request, mix))
      return writer.writeRows(program);
    writer.writeSplit(program);
    return writer.writeMerge(program);
  }
  // The length decides at run time: the grid of one of the two is empty.
  int64_t limit = 2 * kPackedPrice * mix.listed;
  tile::FormulaAttr long_ = program.atLeast(mix.Tk, limit);
  AttentionWriter(mix, request.schedule, suffix).writeRows(program, program.negated(long_));
  AttentionWriter(byRow->second, request.schedule, suffix).writeQueries(program, long_);
}

const MixProblem *groupedMix(const Graph &graph) {
  for (const Stage &stage : graph.stages)
    if (auto mix = std::get_if<MixProblem>(&stage); mix && mix->G > 1)
      return mix;
  return nullptr;
}

} // namespace

std::string refuseAttention(const FormRequest &request) {
  Result<Graph> graph = readGraph(request);
  if (!graph)
    return graph.error().message;
  for (const Stage &stage : graph->stages)
    if (std::string reason = refuseStage(*graph, stage); !reason.empty())
      return reason;
  return "";
}

OwningOpRef<ModuleOp> buildAttention(const FormRequest &request) {
  Result<Graph> graph = readGraph(request);
  assert(graph && "build follows a refuse that found nothing");
  llvm::StringMap<MixProblem> packed = planLists(request, *graph);
  const MixProblem *grouped = groupedMix(*graph);
  ProgramWriter program(*graph, pattern::DefOp(request.def).getSymName(),
                        grouped ? grouped->Hq.name : "", grouped ? grouped->G : 1);
  size_t mixes = llvm::count_if(
      graph->stages, [](const Stage &stage) { return std::holds_alternative<MixProblem>(stage); });
  for (const Stage &stage : graph->stages) {
    if (auto map = std::get_if<MapStage>(&stage))
      writeMap(program, *graph, *map);
    else if (auto prefix = std::get_if<PrefixStage>(&stage))
      writePrefix(program, *graph, *prefix);
    else if (auto mix = std::get_if<MixProblem>(&stage))
      writeMix(program, request, *mix, packed, mixes > 1 ? "_" + mix->o : "");
  }
  return program.take();
}

} // namespace heddle::compiler
