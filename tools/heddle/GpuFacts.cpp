// json["kernels"] as text:
//   kernel     causal_softmax_0: 256 threads, 210 registers, 96.0 KiB shared, no spills
//              1 block of 8 warps at once (13 % of the warps), limited by shared memory
//   main loop  1188 instructions, 256 mma: 2.61 other slots per m16n8k16; 12 moves, no local memory
#include "tools/heddle/GpuFacts.h"

#include "tools/heddle/Certificate.h"
#include "tools/heddle/PtxReport.h"
#include "tools/heddle/Terminal.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace heddle::tool {
namespace {

int64_t number(const nlohmann::json &json, const char *key) { return json.value(key, int64_t(0)); }

std::string spillText(const nlohmann::json &kernel) {
  const int64_t stores = number(kernel, "spill_store_bytes"),
                loads = number(kernel, "spill_load_bytes"), stack = number(kernel, "stack_bytes");
  if (stores + loads + stack == 0)
    return "no spills";
  return fmt::format("spills {} bytes in stores and {} in loads, stack {} bytes", stores, loads,
                     stack);
}

/// "256 mma, 128 ex2, ...", the most frequent first.
std::string mixText(const nlohmann::json &classes) {
  std::vector<std::pair<int64_t, std::string>> parts;
  for (const auto &[name, count] : classes.items())
    parts.emplace_back(-count.get<int64_t>(), name);
  std::sort(parts.begin(), parts.end());
  std::vector<std::string> words;
  for (const auto &[count, name] : parts)
    words.push_back(fmt::format("{} {}", -count, name));
  return fmt::format("{}", fmt::join(words, ", "));
}

void printLoop(const nlohmann::json &loop) {
  const nlohmann::json &classes = loop["classes"];
  const int64_t local = number(loop, "local_memory");
  fmt::print("{}  {} instructions", loop.value("main", false) ? "main loop" : "loop     ",
             number(loop, "instructions"));
  if (number(loop, "mma_flops") > 0)
    fmt::print(", {:.2f} other slots per m16n8k16", loop.value("other_per_mma", 0.0));
  fmt::print("; {} moves, {}\n", number(classes, "mov"),
             local ? fmt::format("{} accesses of local memory", local) : "no local memory");
  fmt::print("           {}\n", mixText(classes));
}

} // namespace

Result<nlohmann::json> countsOf(const Problem &onMachine, double bytes, bool count) {
  nlohmann::json counts = certifiedCounts(onMachine);
  if (counts.is_null() && !count)
    return counts;
  if (counts.is_null()) {
    HEDDLE_TRY(counted, countLaunches(onMachine));
    counts = std::move(counted);
  }
  counts["bytes"] = bytes;
  return counts;
}

Result<nlohmann::json> countedEstimate(CompilerPlugin &compiler, const Request &request,
                                       const Artifact &artifact, const nlohmann::json &counts) {
  HEDDLE_TRY(facts, compiler.inspect(request, artifact, false, counts.dump()));
  double sum = 0, longest = 0;
  std::string bound;
  for (const nlohmann::json &kernel : nlohmann::json::parse(facts)) {
    const double ms = kernel["estimate"]["ms"];
    sum += ms;
    if (ms > longest) {
      longest = ms;
      bound = kernel["estimate"]["bound"];
    }
  }
  return nlohmann::json{{"ms", sum}, {"bound", bound}};
}

Result<Problem> problemOnMachine(ProblemOptions options, const Request &request) {
  options.target = request.target;
  HEDDLE_TRY(given, onPtxMachine(std::move(options)));
  HEDDLE_TRY(problem, resolveProblem(given));
  problem.request.schedule = request.schedule;
  return problem;
}

Status addGpuFacts(nlohmann::json &json, const ProblemOptions &options, const Problem &problem,
                   bool sass, bool count) {
  Result<Artifact> artifact = problem.context->compiler().compile(problem.request);
  if (!artifact.ok()) {
    json["notes"].push_back("not compiled: " + artifact.error().message);
    return {};
  }
  json["schedule"] = artifact->schedule; // tiles that did not fit were halved
  HEDDLE_TRY(facts, problem.context->compiler().inspect(problem.request, *artifact, sass));
  json["kernels"] = nlohmann::json::parse(facts);
  json["nvrtc"] = artifact->provenance["nvrtc"];
  Result<Problem> onMachine = problemOnMachine(options, problem.request);
  if (!onMachine.ok() && !count) // nothing is counted, so nothing is lost
    return {};
  if (!onMachine.ok())
    return onMachine.error();
  HEDDLE_TRY(counts, countsOf(*onMachine, json.value("bytes", 0.0), count));
  if (counts.is_null())
    return {};
  HEDDLE_TRY(estimate,
             countedEstimate(problem.context->compiler(), problem.request, *artifact, counts));
  json["counts"] = std::move(counts);
  json["estimate"] = std::move(estimate);
  return {};
}

void printGpuFacts(const nlohmann::json &json) {
  for (const nlohmann::json &kernel : json.value("kernels", nlohmann::json::array())) {
    const nlohmann::json &occupancy = kernel["occupancy"];
    fmt::print("kernel     {}: {} threads, {} registers, {} shared memory, {}\n",
               kernel.value("entry", ""), number(kernel, "threads"), number(kernel, "registers"),
               bytesText(static_cast<double>(number(kernel, "shared_bytes"))), spillText(kernel));
    const int64_t blocks = number(occupancy, "blocks");
    fmt::print("           {} block{} at once on a multiprocessor, {} warps ({:.0f} %), limited by "
               "{}\n",
               blocks, blocks == 1 ? "" : "s", number(occupancy, "warps"),
               occupancy.value("share", 0.0) * 100, occupancy.value("limit", ""));
    for (const nlohmann::json &loop : kernel["loops"])
      printLoop(loop);
    const std::string reason = kernel.value("no_loops", "");
    if (!reason.empty() && reason != "not asked for")
      fmt::print("           loops not told: {}\n", reason);
  }
  if (!json.contains("counts"))
    return;
  fmt::print("counts     by {}\n", json["counts"].value("from", ""));
  for (const nlohmann::json &launch : json["counts"]["launches"]) {
    fmt::print("  {}: {} warp instructions\n", launch.value("kernel", ""),
               launch["instructions"].get<uint64_t>());
    printReport(launch);
  }
  fmt::print("estimate   {} from these counts, bound by {}\n",
             timeText(json["estimate"].value("ms", 0.0)), json["estimate"].value("bound", ""));
}

} // namespace heddle::tool
