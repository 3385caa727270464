// Defaults and legality of the CUDA knobs, for kernels of mma.sync: 16 rows of a warp by BN keys by
// D features.
//   sm_80, D = 128: 8 warps, BM 128, BN 64, 2 stages: 190 registers, 96 KiB of 163
#include "compiler/schedule/CudaRules.h"

#include <fmt/format.h>

#include <algorithm>

namespace heddle::compiler::rules::cuda {
namespace {

constexpr int64_t kRegisters = 255; ///< a thread has at most

bool isDecode(const Problem &problem) { return problem.rows.bound == ExtentClass::One; }
bool hasFewRows(const Problem &problem) {
  return isDecode(problem) || problem.rows.bound == ExtentClass::UpTo16;
}

int64_t roundUp(int64_t x, int64_t multiple) { return (x + multiple - 1) / multiple * multiple; }

/// Bytes between rows of `columns` elements of 2 bytes.
int64_t pitchOf(int64_t columns) {
  int64_t bytes = roundUp(2 * columns, 16), chunks = bytes / 16;
  bool swizzled = (chunks & (chunks - 1)) == 0;
  return swizzled || chunks % 2 == 1 ? bytes : bytes + 16;
}

/// Bytes of a row in shared memory: padded, or in the panels of TMA.
int64_t rowBytes(int64_t columns, const Schedule &schedule) {
  const auto tma = schedule.find("TMA");
  const bool panels = tma != schedule.end() && tma->second == 1;
  return panels ? 2 * roundUp(columns, 16) : pitchOf(columns);
}

/// A scan: the rows are those of the state, and rings and exchanged tiles are placed before it is
/// known whether they fit.
Schedule scanDefaults() {
  return {{"WARPS", 8}, {"BM", 128}, {"BN", 64}, {"STAGES", 2}, {"QREG", 0}};
}

bool fits(const Schedule &schedule, const Machine &machine, const Problem &problem) {
  return sharedBytes(schedule, problem) <= machine.gpu.sharedBytesPerBlock &&
         registersOf(schedule, problem) <= kRegisters;
}

/// 16 rows a warp; as many warps and keys as fit, since wide tiles share copies and reductions, but
/// no more rows than there are.
Schedule defaults(const Machine &machine, const Problem &problem) {
  if (problem.scan)
    return scanDefaults();
  const int64_t most = hasFewRows(problem) ? 1 : problem.rows.bound == ExtentClass::UpTo64 ? 4 : 8;
  // Wide heads have products enough in 64 keys: twice as many would take twice as long to compile.
  const bool wide = problem.d + problem.dv >= 256;
  Schedule schedule;
  for (int64_t leastKeys : {64, 16})
    for (int64_t warps = most; warps >= 1; warps /= 2)
      for (int64_t keys = isDecode(problem) || wide ? 64 : 128; keys >= leastKeys; keys /= 2) {
        schedule = {{"WARPS", warps}, {"BM", 16 * warps}, {"BN", keys},
                    {"STAGES", 1},    {"QREG", 0},        {"VCOLS", defaultColumns(problem)}};
        if (!fits(schedule, machine, problem))
          continue;
        schedule["STAGES"] = 2;
        if (!fits(schedule, machine, problem))
          schedule["STAGES"] = 1;
        // Queries stay in registers where the compiler has room to move.
        schedule["QREG"] = 1;
        if (registersOf(schedule, problem) > 224)
          schedule["QREG"] = 0;
        return schedule;
      }
  return schedule;
}

} // namespace

int64_t defaultWarps(const Machine &machine, const Problem &problem) {
  return defaults(machine, problem).at("WARPS");
}

int64_t defaultRows(const Machine &machine, const Problem &problem) {
  return defaults(machine, problem).at("BM");
}

int64_t defaultKeys(const Machine &machine, const Problem &problem) {
  return defaults(machine, problem).at("BN");
}

int64_t defaultStages(const Machine &machine, const Problem &problem) {
  return defaults(machine, problem).at("STAGES");
}

int64_t defaultQreg(const Machine &machine, const Problem &problem) {
  return defaults(machine, problem).at("QREG");
}

/// All columns at once as far as that goes; wider values (absorbed MLA) in parts that leave
/// registers for their scores: 256 columns of 512 spill, and cost as much in memory as scores made
/// once more.
int64_t defaultColumns(const Problem &problem) { return problem.dv > 256 ? 128 : 256; }

int64_t defaultSplit(const Problem &problem) { return isDecode(problem) ? 512 : 0; }

std::string chunkDoesNotFit(const Schedule &schedule) {
  const int64_t chunk = schedule.at("CHUNK");
  if (chunk >= 0 && chunk <= 128 && chunk % 16 == 0)
    return "";
  return fmt::format("CHUNK={} is no multiple of 16 tokens, or not in 0 to 128", chunk);
}

int64_t sharedBytes(const Schedule &schedule, const Problem &problem) {
  const int64_t features = roundUp(problem.d, 16);
  const int64_t values = std::min(problem.dv, schedule.at("VCOLS"));
  return schedule.at("BM") * rowBytes(features, schedule) +
         schedule.at("STAGES") * schedule.at("BN") *
             (rowBytes(features, schedule) + rowBytes(values, schedule));
}

int64_t registersOf(const Schedule &schedule, const Problem &problem) {
  const int64_t rows = schedule.at("BM") / std::max<int64_t>(schedule.at("WARPS"), 1);
  int64_t registers =
      rows * (std::min(problem.dv, schedule.at("VCOLS")) + schedule.at("BN")) / 32 + 64;
  if (schedule.at("QREG") == 1)
    registers += rows * roundUp(problem.d, 16) / 64;
  return registers;
}

std::string warpsDoNotFit(const Schedule &schedule, const Machine &machine) {
  const int64_t warps = schedule.at("WARPS");
  if (warps >= 1 && warps <= 16)
    return "";
  return fmt::format("WARPS={} is not in 1 to 16", warps);
}

std::string rowsDoNotFit(const Schedule &schedule, const Machine &machine, const Problem &problem) {
  const int64_t rows = schedule.at("BM"), step = 16 * std::max<int64_t>(schedule.at("WARPS"), 1);
  if (rows < 1 || rows > 1024 || rows % step != 0)
    return fmt::format("BM={} is no multiple of 16 rows for each of {} warps, or not in 1 to 1024",
                       rows, schedule.at("WARPS"));
  // One query row: the rows are the heads of a group, filled up to 16.
  if (!problem.scan && isDecode(problem) && schedule.at("WARPS") != 1 && problem.group <= 16)
    return fmt::format("WARPS={} but {} heads of a group fill one warp's 16 rows",
                       schedule.at("WARPS"), problem.group);
  return "";
}

std::string keysDoNotFit(const Schedule &schedule, const Machine &machine, const Problem &problem) {
  const int64_t keys = schedule.at("BN");
  if (keys >= 16 && keys <= 1024 && keys % 16 == 0)
    return "";
  return fmt::format("BN={} is no multiple of 16, or not in 16 to 1024", keys);
}

std::string sharedExceeded(const Schedule &schedule, const Machine &machine,
                           const Problem &problem) {
  const int64_t stages = schedule.at("STAGES");
  if (stages < 1 || stages > 8)
    return fmt::format("STAGES={} is not in 1 to 8", stages);
  if (problem.scan)
    return ""; // what a scan exchanges is known after layouts only
  const int64_t bytes = sharedBytes(schedule, problem), limit = machine.gpu.sharedBytesPerBlock;
  if (bytes <= limit)
    return "";
  return fmt::format("BM={}, BN={}, STAGES={} take {} bytes of shared memory for D={}, Dv={}, {} "
                     "more than the {} a block of {} has",
                     schedule.at("BM"), schedule.at("BN"), stages, bytes, problem.d, problem.dv,
                     bytes - limit, limit, machine.name);
}

std::string registersExceeded(const Schedule &schedule, const Machine &machine,
                              const Problem &problem) {
  if (std::string reason = isFlag(schedule, "QREG"); !reason.empty())
    return reason;
  const int64_t registers = registersOf(schedule, problem);
  if (problem.scan || registers <= kRegisters)
    return "";
  return fmt::format("BM={}, WARPS={}, BN={}, QREG={} take about {} registers a thread for D={}, "
                     "Dv={}, {} more than {}",
                     schedule.at("BM"), schedule.at("WARPS"), schedule.at("BN"),
                     schedule.at("QREG"), registers, problem.d, problem.dv, registers - kRegisters,
                     kRegisters);
}

std::string columnsDoNotFit(const Schedule &schedule, const Problem &problem) {
  const int64_t columns = schedule.at("VCOLS");
  if (columns < 256 && columns >= problem.dv)
    return fmt::format("VCOLS={} is all of the {} columns, as VCOLS=256 is", columns, problem.dv);
  if (columns >= 16 && columns <= 1024 && columns % 16 == 0)
    return "";
  return fmt::format("VCOLS={} is no multiple of 16, or not in 16 to 1024", columns);
}

std::string tensorTilesDoNotFit(const Schedule &schedule, const Machine &machine,
                                const Problem &problem) {
  if (std::string reason = isFlag(schedule, "TMA"); !reason.empty() || schedule.at("TMA") == 0)
    return reason;
  constexpr int64_t kMostRows = 256; // of a box
  if (!machine.has("tma"))
    return fmt::format("TMA=1 but {} has no TMA, which comes with sm_90; take TMA=0", machine.name);
  if (problem.scan)
    return "TMA=1 but chunked and recurrent forms copy by cp.async; take TMA=0";
  if (problem.d % 8 != 0 || problem.dv % 8 != 0)
    return fmt::format("TMA=1 but D={}, Dv={}: rows are no multiples of 16 bytes; take TMA=0",
                       problem.d, problem.dv);
  for (const char *rows : {"BM", "BN"})
    if (schedule.at(rows) > kMostRows)
      return fmt::format("TMA=1 but {}={} is more than the {} rows of a copy", rows,
                         schedule.at(rows), kMostRows);
  return "";
}

std::string isFlag(const Schedule &schedule, const char *name) {
  const int64_t value = schedule.at(name);
  return value == 0 || value == 1 ? "" : fmt::format("{}={} is neither 0 nor 1", name, value);
}

} // namespace heddle::compiler::rules::cuda
