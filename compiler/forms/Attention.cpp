// The form, and mixes as weights of pairs for every form: what is refused, the maps before mixes
// whose supports read lists, and the kernels of each stage in order. AttentionWriter.h writes those
// of a mix.
#include "compiler/forms/Attention.h"

#include "compiler/forms/AttentionWriter.h"
#include "compiler/forms/PairMixes.h"
#include "compiler/forms/StageKernels.h"
#include "compiler/forms/TileSkips.h"

#include <fmt/format.h>

namespace heddle::compiler {

using namespace mlir;

namespace {

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

/// Rows of one query, packed, take about this many times longer for a pair than tiles of rows.
constexpr int64_t kPackedPrice = 5;

/// Keys from which on queries are taken one at a time.
int64_t shortest(const MixProblem &mix) { return 2 * kPackedPrice * mix.listed; }

/// Plans mixes with lists and puts the maps before them that join the blocks of a tile of rows.
/// Where lists are much shorter than the keys, tiles of rows that share few blocks are worse than
/// one query at a time: such mixes get both kernels. Lists of single keys are always walked.
llvm::StringMap<ListPlan> planLists(const FormRequest &request, Graph &graph) {
  llvm::StringMap<ListPlan> plans;
  std::vector<Stage> stages;
  int64_t least = std::min<int64_t>(request.schedule.at("BN"), 16);
  for (Stage &stage : graph.stages) {
    auto mix = std::get_if<MixProblem>(&stage);
    if (!mix) {
      stages.push_back(std::move(stage));
      continue;
    }
    std::optional<ListedMix> listed = planList(graph, *mix);
    if (listed && listed->inside.list.block < least) {
      plans[mix->o] = {*listed, true};
    } else {
      bool oneRow = hasOneRow(request, *mix);
      MixProblem whole = *mix;
      std::optional<MapStage> map =
          planSkips(graph, *mix, oneRow ? 1 : request.schedule.at("BM"), least, oneRow);
      if (map && !oneRow && listed && mix->listed > 0) {
        plans[mix->o] = {*listed, false};
        map->needed = mix->Tk;
        map->limit = shortest(*mix);
      }
      if (map)
        stages.push_back(*map);
      std::optional<MapStage> byRow;
      if (map && !oneRow && !listed && mix->listed > 0 && canPack(whole))
        byRow = planSkips(graph, whole, 1, least, true);
      if (byRow) {
        stages.push_back(*byRow);
        plans[mix->o] = {{whole, std::nullopt}, false};
      }
    }
    stages.push_back(std::move(stage));
  }
  graph.stages = std::move(stages);
  return plans;
}

void writeSplits(ProgramWriter &program, AttentionWriter &writer) {
  writer.writeSplit(program);
  writer.writeMerge(program);
}

/// Columns first .. of the values; the first launch alone writes the log-sum-exp.
MixProblem columnsOf(const MixProblem &mix, int64_t first, int64_t columns) {
  MixProblem part = mix;
  part.firstColumn = first;
  part.v.first += first;
  part.v.width = part.Dv = std::min(columns, mix.Dv - first);
  if (first > 0)
    part.lse.clear();
  return part;
}

/// All columns of the values, or as many a launch as the schedule says: on a GPU sums of all would
/// not fit a thread's registers. Scores are made for each part anew.
void writeColumns(ProgramWriter &program, const FormRequest &request, const MixProblem &mix,
                  const std::string &suffix) {
  auto knob = request.schedule.find("VCOLS");
  int64_t columns = knob == request.schedule.end() || mix.entry ? mix.Dv : knob->second;
  for (int64_t first = 0; first == 0 || first < mix.Dv; first += columns) {
    const MixProblem part = columnsOf(mix, first, columns);
    AttentionWriter tiles(part, request.schedule,
                          first > 0 ? fmt::format("{}_from{}", suffix, first) : suffix);
    hasOneRow(request, part) ? writeSplits(program, tiles) : tiles.writeRows(program);
  }
}

const MixProblem *groupedMix(const Graph &graph) {
  for (const Stage &stage : graph.stages)
    if (auto mix = std::get_if<MixProblem>(&stage); mix && mix->G > 1)
      return mix;
  return nullptr;
}

} // namespace

std::string refusePairs(const MixProblem &problem) {
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

PairMixes::PairMixes(const FormRequest &request, Graph &graph)
    : request(request), plans(planLists(request, graph)) {
  several = llvm::count_if(graph.stages, [](const Stage &stage) {
              return std::holds_alternative<MixProblem>(stage) ||
                     std::holds_alternative<ScanProblem>(stage);
            }) > 1;
  if (const MixProblem *grouped = groupedMix(graph))
    groupedHeads = grouped->Hq.name, group = grouped->G;
}

void PairMixes::write(ProgramWriter &program, const MixProblem &mix) const {
  std::string suffix = several ? "_" + mix.o : "";
  auto plan = plans.find(mix.o);
  if (plan == plans.end())
    return writeColumns(program, request, mix, suffix);
  AttentionWriter tiles(mix, request.schedule, suffix);
  bool oneRow = hasOneRow(request, mix);
  const ListedMix &listed = plan->second.mix;
  AttentionWriter inside(listed.inside, request.schedule, suffix);
  std::optional<AttentionWriter> others;
  if (listed.others)
    others.emplace(*listed.others, request.schedule, suffix);
  AttentionWriter *rest = others ? &*others : nullptr;
  if (plan->second.always) {
    bool ranges = oneRow && !rest && listed.inside.list.block == 1;
    return ranges ? writeSplits(program, inside) : inside.writeQueries(program, rest);
  }
  // The length decides at run time: the grid of one of the two is empty.
  tile::FormulaAttr long_ = program.atLeast(mix.Tk, shortest(mix));
  tiles.writeRows(program, program.negated(long_));
  inside.writeQueries(program, rest, long_);
}

std::string refuseAttention(const FormRequest &request) {
  Result<Graph> graph = readGraph(request);
  if (!graph)
    return graph.error().message;
  for (const Stage &stage : graph->stages) {
    auto mix = std::get_if<MixProblem>(&stage);
    std::string reason = mix ? refusePairs(*mix) : refuseStage(*graph, stage);
    if (!reason.empty())
      return reason;
  }
  return "";
}

OwningOpRef<ModuleOp> buildAttention(const FormRequest &request) {
  Result<Graph> graph = readGraph(request);
  assert(graph && "build follows a refuse that found nothing");
  PairMixes pairs(request, *graph);
  ProgramWriter program(*graph, pattern::DefOp(request.def).getSymName(), pairs.groupedHeads,
                        pairs.group);
  writeStages(program, request, *graph,
              [&](const Stage &stage) { pairs.write(program, std::get<MixProblem>(stage)); });
  return program.take();
}

} // namespace heddle::compiler
