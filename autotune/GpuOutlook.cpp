// schedule -> artifact -> facts of its launches; tiles visited by the loop
// bounds -> iterations of all warps; both -> estimateTime.
#include "autotune/GpuOutlook.h"

#include "compiler/Compiler.h"
#include "compiler/KernelFacts.h"
#include "compiler/machine/GpuEstimate.h"

#include <algorithm>
#include <cmath>

namespace heddle::autotune {
namespace {

using compiler::GpuWork;
using compiler::KernelFacts;
using compiler::LoopFacts;
using compiler::WarpIteration;

constexpr double kMmaFlops = 4096;      ///< m16n8k16
constexpr double kSlotsWithoutSass = 4; ///< per m16n8k16, itself included

double extent(const GpuProblem &problem, const char *name, double otherwise) {
  if (const auto found = problem.extents.find(name); found != problem.extents.end())
    return static_cast<double>(found->second);
  const auto fixed = problem.request.dims.find(name);
  return fixed == problem.request.dims.end() ? otherwise : static_cast<double>(fixed->second);
}

/// Values for the artifact's formulas.
std::vector<int64_t> scalarsOf(const GpuProblem &problem, const Artifact &artifact) {
  std::vector<int64_t> values;
  for (const ScalarInfo &scalar : artifact.scalars) {
    const auto given = problem.parameters.find(scalar.name);
    values.push_back(scalar.kind == ScalarInfo::Extent
                         ? static_cast<int64_t>(extent(problem, scalar.name.c_str(), 1))
                     : given == problem.parameters.end() ? static_cast<int64_t>(scalar.defaultValue)
                                                         : static_cast<int64_t>(given->second));
  }
  return values;
}

/// The launch that does the work: the one with the most tensor-core arithmetic,
/// else the first.
size_t mainLaunch(const std::vector<KernelFacts> &kernels) {
  const auto flops = [](const KernelFacts &kernel) {
    return kernel.mainLoop() ? kernel.mainLoop()->mmaFlops : 0;
  };
  return std::max_element(kernels.begin(), kernels.end(),
                          [&](auto &a, auto &b) { return flops(a) < flops(b); }) -
         kernels.begin();
}

WarpIteration iterationOf(const LoopFacts &loop) {
  return {static_cast<double>(loop.instructions), static_cast<double>(loop.mmaFlops),
          static_cast<double>(loop.count("ex2") + loop.count("mufu"))};
}

/// Full tiles run the main loop, edge tiles the loop with the most
/// instructions.
WarpIteration meanIteration(const KernelFacts &kernel, double fullShare) {
  const LoopFacts &full = *kernel.mainLoop();
  const LoopFacts &edge =
      *std::max_element(kernel.loops.begin(), kernel.loops.end(),
                        [](auto &a, auto &b) { return a.instructions < b.instructions; });
  const WarpIteration a = iterationOf(full), b = iterationOf(edge);
  const double scale = b.mmaFlops > 0 ? a.mmaFlops / b.mmaFlops : 1;
  return {a.slots * fullShare + b.slots * scale * (1 - fullShare), a.mmaFlops,
          a.special * fullShare + b.special * scale * (1 - fullShare)};
}

/// Tiles of one batch and head; all of them where a support reads tensors, which are not here.
Result<compiler::TileCounts> tilesOf(const GpuProblem &problem, const Request &request,
                                     const Artifact &artifact) {
  Result<compiler::TileCounts> counted =
      compiler::countTiles(request, problem.extents, problem.parameters);
  if (counted.ok() || counted.error().code != ErrorCode::Unsupported)
    return counted;
  const auto tiles = [&](const char *length, const char *knob) {
    const auto rows = artifact.schedule.find(knob);
    const double size = rows == artifact.schedule.end() ? 64 : static_cast<double>(rows->second);
    return static_cast<int64_t>(std::ceil(extent(problem, length, 1) / size));
  };
  compiler::TileCounts all;
  all.rowTiles = tiles("Tq", "BM");
  all.visitedTiles = all.fullTiles = all.rowTiles * tiles("Tk", "BN");
  return all;
}

} // namespace

Result<Outlook> outlookOf(const GpuProblem &problem, const Schedule &schedule) {
  Request request = problem.request;
  request.schedule = schedule;
  HEDDLE_TRY(artifact, compiler::compile(request));
  HEDDLE_TRY(kernels, compiler::inspect(request, artifact, /*sass=*/true));
  HEDDLE_TRY(machine, compiler::machineOf(request));
  const KernelFacts &kernel = kernels[mainLaunch(kernels)];

  Outlook outlook;
  outlook.registers = kernel.resources.registers;
  outlook.sharedBytes = kernel.sharedBytes;
  outlook.blocks = kernel.occupancy.blocks;
  outlook.occupancy = kernel.occupancy.share;
  outlook.occupancyLimit = kernel.occupancy.limit;
  outlook.otherPerMma = kernel.mainLoop() ? kernel.mainLoop()->otherPerMma : 0;
  for (const KernelFacts &each : kernels) {
    outlook.spillBytes += each.resources.spillStoreBytes + each.resources.spillLoadBytes;
    outlook.stackBytes = std::max(outlook.stackBytes, each.resources.stackBytes);
  }
  if (!objection(outlook).empty())
    return outlook; // its time is of no interest

  HEDDLE_TRY(tiles, tilesOf(problem, request, artifact));
  const auto rowsOf = artifact.schedule.find("BM"), keysOf = artifact.schedule.find("BN");
  if (rowsOf == artifact.schedule.end() || keysOf == artifact.schedule.end())
    return Error{ErrorCode::Unsupported,
                 "this form has no tiles of queries and keys; its time is not estimated"};
  const double rows = static_cast<double>(rowsOf->second);
  const double keys = static_cast<double>(keysOf->second);
  const double d = extent(problem, "D", 64), dv = extent(problem, "Dv", d);
  // One query row: the heads of a group share a tile.
  const double heads =
      extent(problem, "B", 1) *
      extent(problem, extent(problem, "Tq", 0) == 1 ? "Hk" : "Hq", extent(problem, "Hq", 1));
  const double tileFlops = 2 * (d + dv) * rows * keys;
  const double visited = static_cast<double>(std::max<int64_t>(tiles.visitedTiles, 1));

  GpuWork work;
  work.warpsOfBlock = (kernel.threads + 31) / 32;
  const double warpFlops = tileFlops / static_cast<double>(work.warpsOfBlock);
  work.iteration = kernel.mainLoop()
                       ? meanIteration(kernel, static_cast<double>(tiles.fullTiles) / visited)
                       : WarpIteration{kSlotsWithoutSass * warpFlops / kMmaFlops, warpFlops,
                                       rows * keys / 32 / static_cast<double>(work.warpsOfBlock)};
  work.iterations = visited * heads * tileFlops / std::max(1.0, work.iteration.mmaFlops);
  work.blocks = 1;
  const std::vector<int64_t> scalars = scalarsOf(problem, artifact);
  for (const Formula &formula : artifact.launches[&kernel - kernels.data()].grid) {
    HEDDLE_TRY(blocks, formula.evaluate(scalars));
    work.blocks *= static_cast<double>(std::max<int64_t>(blocks, 1));
  }
  work.blocksAtOnce = kernel.occupancy.blocks;
  work.bytes = problem.bytes;
  work.stagedBytes = static_cast<double>(kernel.sharedBytes);
  work.launches = static_cast<int64_t>(artifact.launches.size());
  const compiler::GpuEstimate estimate = compiler::estimateTime(machine, work);
  outlook.milliseconds = estimate.milliseconds;
  outlook.bound = estimate.bound;
  return outlook;
}

} // namespace heddle::autotune
