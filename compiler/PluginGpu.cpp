// KernelFacts and estimate sweeps as JSON.
#include "compiler/PluginGpu.h"

#include "autotune/DeviceLab.h"
#include "autotune/GpuOutlook.h"
#include "autotune/Space.h"
#include "compiler/Compiler.h"
#include "compiler/KernelFacts.h"
#include "compiler/PluginCall.h"
#include "compiler/PluginReports.h"
#include "compiler/machine/GpuEstimate.h"
#include "runtime/Key.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace heddle::compiler {
namespace {

nlohmann::json loopJson(const LoopFacts &loop, bool main) {
  return {{"begin", loop.begin},
          {"end", loop.end},
          {"instructions", loop.instructions},
          {"classes", loop.classes},
          {"mma_flops", loop.mmaFlops},
          {"other_per_mma", loop.otherPerMma},
          {"local_memory", loop.localMemory()},
          {"main", main}};
}

nlohmann::json kernelJson(const KernelFacts &kernel) {
  nlohmann::json loops = nlohmann::json::array();
  for (size_t n = 0; n < kernel.loops.size(); ++n)
    loops.push_back(loopJson(kernel.loops[n], static_cast<int>(n) == kernel.main));
  nlohmann::json json = {{"entry", kernel.entry},
                         {"threads", kernel.threads},
                         {"registers", kernel.resources.registers},
                         {"stack_bytes", kernel.resources.stackBytes},
                         {"spill_store_bytes", kernel.resources.spillStoreBytes},
                         {"spill_load_bytes", kernel.resources.spillLoadBytes},
                         {"shared_bytes", kernel.sharedBytes},
                         {"static_shared_bytes", kernel.resources.sharedBytes},
                         {"occupancy",
                          {{"blocks", kernel.occupancy.blocks},
                           {"warps", kernel.occupancy.warps},
                           {"share", kernel.occupancy.share},
                           {"limit", kernel.occupancy.limit}}},
                         {"loops", loops}};
  if (!kernel.noLoops.empty())
    json["no_loops"] = kernel.noLoops;
  return json;
}

nlohmann::json candidateJson(const autotune::Estimated &candidate) {
  const autotune::Outlook &outlook = candidate.outlook;
  nlohmann::json json = {{"schedule", candidate.schedule}, {"from_store", candidate.fromRecords}};
  if (outlook.registers > 0)
    json.update({{"registers", outlook.registers},
                 {"shared_bytes", outlook.sharedBytes},
                 {"spill_bytes", outlook.spillBytes},
                 {"stack_bytes", outlook.stackBytes},
                 {"blocks", outlook.blocks},
                 {"occupancy", outlook.occupancy},
                 {"occupancy_limit", outlook.occupancyLimit},
                 {"other_per_mma", outlook.otherPerMma}});
  if (!candidate.refusal.empty())
    json["refusal"] = candidate.refusal;
  else
    json.update({{"estimated_ms", outlook.milliseconds}, {"bound", outlook.bound}});
  return json;
}

/// Instructions of machine code for one of PTX that moves no data between registers: as the loop
/// with most of the tensor-core work has them. 1 where the machine code is not known.
double codeShare(const KernelFacts &kernel, const nlohmann::json &loops) {
  if (!kernel.mainLoop())
    return 1;
  const auto flops = [](const nlohmann::json &loop) { return loop.value("tensor_flops", 0.0); };
  const auto most = std::max_element(loops.begin(), loops.end(), [&](const auto &a, const auto &b) {
    return flops(a) < flops(b);
  });
  if (most == loops.end() || flops(*most) == 0)
    return 1;
  const double products = (*most)["classes"].value("tensor", 0.0);
  const double others = most->value("instructions", 0.0) - (*most)["classes"].value("move", 0.0);
  return std::min(1.0, (1 + kernel.mainLoop()->otherPerMma) * products / others);
}

/// The work of a launch as the PTX machine counted it. Memory that is read several times comes from
/// the second-level cache but once: `bytes`, or what was asked for if that is less, by the share of
/// sectors wasted.
GpuWork workOf(const KernelFacts &kernel, const nlohmann::json &counts, double bytes) {
  const nlohmann::json &classes = counts["classes"], &traffic = counts["traffic"];
  const auto of = [](const nlohmann::json &json, const char *key) { return json.value(key, 0.0); };
  GpuWork work;
  work.warpsOfBlock = (kernel.threads + 31) / 32;
  work.blocks = std::max(1.0, of(counts, "blocks"));
  work.iterations = work.blocks * static_cast<double>(work.warpsOfBlock); // a warp's whole life
  work.iteration.slots =
      (of(counts, "instructions") - of(classes, "move") - of(classes, "param load")) /
      work.iterations * codeShare(kernel, counts["loops"]);
  work.iteration.mmaFlops = of(traffic, "tensor_flops") / work.iterations;
  work.iteration.special = of(classes, "special") / work.iterations;
  work.iteration.wavefronts = of(traffic, "shared_wavefronts") / work.iterations;
  work.blocksAtOnce = kernel.occupancy.blocks;
  const double asked = of(traffic, "global_bytes"), moved = 32 * of(traffic, "global_sectors");
  work.bytes = asked > 0 ? std::min(moved, bytes * moved / asked) : 0;
  work.stagedBytes = static_cast<double>(kernel.sharedBytes);
  return work;
}

/// What, with a schedule, decides an estimate.
std::string problemText(const autotune::GpuProblem &problem) {
  std::string text = fmt::format("request {}\n", winnerKey(problem.request));
  for (const auto &[name, extent] : problem.extents)
    text += fmt::format("{} = {}\n", name, extent);
  for (const auto &[name, value] : problem.parameters)
    text += fmt::format("{} = {}\n", name, value);
  return text;
}

} // namespace

Result<std::string> inspectReport(const Request &request, const Artifact &artifact, bool sass,
                                  std::string_view counts) {
  HEDDLE_TRY(kernels, inspect(request, artifact, sass || !counts.empty()));
  nlohmann::json list = nlohmann::json::array();
  for (const KernelFacts &kernel : kernels)
    list.push_back(kernelJson(kernel));
  if (counts.empty())
    return list.dump();
  HEDDLE_TRY(machine, machineOf(request));
  const nlohmann::json given = nlohmann::json::parse(counts, nullptr, /*allow_exceptions=*/false);
  if (!given.is_object() || given["launches"].size() != kernels.size())
    return Error{
        ErrorCode::InvalidArgument,
        fmt::format("found counts that are not of this artifact's {} launches", kernels.size())};
  for (size_t n = 0; n < kernels.size(); ++n) {
    const GpuEstimate estimate =
        estimateTime(machine, workOf(kernels[n], given["launches"][n], given.value("bytes", 0.0)));
    list[n]["estimate"] = {{"ms", estimate.milliseconds}, {"bound", estimate.bound}};
  }
  return list.dump();
}

Result<std::string> estimateReport(const Request &request, const heddle_compiler_call &call,
                                   const heddle_compiler_sweep &options) {
  HEDDLE_TRY(explained, explainReport(request, call));
  HEDDLE_TRY(bindings, bindingsOf(request, call));
  HEDDLE_TRY(machine, machineOf(request));
  autotune::GpuProblem problem;
  problem.request = request;
  problem.request.schedule.clear();
  problem.extents = extentsOf(call);
  problem.parameters = bindings.params;
  problem.bytes = nlohmann::json::parse(explained).value("bytes", 0.0);
  HEDDLE_TRY(legal, enumerate(problem.request));
  autotune::StoreRecords records{std::string(view(options.store_directory))};
  const auto progress = [&](int64_t done, int64_t total, const std::string &note) {
    return !options.progress ||
           options.progress(options.progress_user, done, total, {note.data(), note.size()}) != 0;
  };
  const auto assess = [&](const Schedule &schedule) {
    return autotune::outlookOf(problem, schedule);
  };
  HEDDLE_TRY(sweep, autotune::estimateSweep(autotune::orderByDistance(legal, options.budget),
                                            problemText(problem), assess, records,
                                            autotune::compileThreads(options.threads), progress));
  nlohmann::json candidates = nlohmann::json::array();
  for (const autotune::Estimated &candidate : sweep.candidates)
    candidates.push_back(candidateJson(candidate));
  return nlohmann::json{{"estimate", true},
                        {"machine", machine.title},
                        {"winner", sweep.candidates[sweep.winner].schedule},
                        {"candidates", candidates},
                        {"compiled", sweep.compiled},
                        {"reused", sweep.reused}}
      .dump();
}

} // namespace heddle::compiler
