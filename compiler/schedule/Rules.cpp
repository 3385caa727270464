// Defaults and legality of the CPU's knobs. The register block has MQ x MK accumulators, MQ vectors
// of queries and one broadcast; the working set of a grid point must stay in the core's L2.
//   AVX-512, D = 128: MQ 4, MK 4, BM 64, BN 128: 21 of 32 registers, 96 KiB of 1 MiB
#include "compiler/schedule/Rules.h"

#include <fmt/format.h>

#include <algorithm>

namespace heddle::compiler::rules {
namespace {

bool isDecode(const Problem &problem) { return problem.rows.bound == ExtentClass::One; }

/// Vectors of queries that the rows of a problem can fill.
int64_t usefulVectors(int64_t lanes, const Problem &problem) {
  if (problem.rows.bound == ExtentClass::One || problem.rows.bound == ExtentClass::UpTo16)
    return std::max<int64_t>(1, 16 / lanes);
  return 8;
}

} // namespace

int64_t lanesOf(int64_t isa) { return isa == kAvx512 ? 16 : 8; }
int64_t registersOf(int64_t isa) { return isa == kAvx512 ? 32 : 16; }

int64_t widestIsa(const Machine &machine) { return machine.has("avx512f") ? kAvx512 : kAvx2; }

int64_t defaultMq(const Machine &machine, const Problem &problem) {
  const int64_t isa = widestIsa(machine);
  return std::min<int64_t>(isa == kAvx512 ? 4 : 2, usefulVectors(lanesOf(isa), problem));
}

/// Eight sums in flight keep the multipliers busy. 4 x 6 loads less than 4 x 4 but gains nothing
/// where 4 x 4 is at the peak, and takes LLVM a quarter longer.
int64_t defaultMk(const Machine &machine, const Problem &problem) {
  return defaultMq(machine, problem) == 1 ? 8 : 4;
}

int64_t defaultBm(const Machine &machine, const Problem &problem) {
  const int64_t step = defaultMq(machine, problem) * lanesOf(widestIsa(machine));
  if (isDecode(problem) || problem.rows.bound == ExtentClass::UpTo16)
    return step;
  // Keys and values are read anew for each tile of rows. Where multiply-adds are fast (two vectors
  // of 512 bits a cycle) that takes a tenth to a fifth of the time with 64 rows.
  const bool fast = machine.vector.fmaPerCycle * double(machine.vector.bits) >= 1024 &&
                    problem.rows.bound > ExtentClass::UpTo64;
  int64_t rows = (fast ? 256 : 64) / step * step; // fewer where wide heads would not fit
  const int64_t room = fast ? machine.l2Bytes / 2 : machine.l2Bytes;
  while (rows > step && workingSet({{"BM", rows}, {"BN", fast ? 128 : 32}}, problem) > room)
    rows -= step;
  return rows;
}

int64_t defaultBn(const Machine &machine, const Problem &problem) {
  if (isDecode(problem)) { // a tile of keys is read while the next one of values is on its way
    // Short tiles where lines are dropped that are asked for too fast: tiles take turns, and what
    // was dropped is soon read ahead by the processor.
    return machine.prefetch.dropped ? 64 / sizeOf(problem.dtype) : 64;
  }
  // The widest of the good sizes whose working set leaves half of L2 to K and V.
  Schedule schedule = {{"BM", defaultBm(machine, problem)}};
  // A matrix unit fetches and stores its sums once a tile: longer tiles do that less often.
  const bool tiles = machine.has("amx_bf16") && problem.dtype == DType::BF16 &&
                     problem.rows.bound > ExtentClass::UpTo64;
  for (int64_t keys : {256, 128, 64}) {
    if (keys == 256 && !tiles)
      continue;
    schedule["BN"] = keys;
    if (workingSet(schedule, problem) <= machine.l2Bytes / 2)
      return keys;
  }
  return 32;
}

int64_t defaultSplit(const Problem &problem) { return isDecode(problem) ? 512 : 0; }

int64_t workingSet(const Schedule &schedule, const Problem &problem) {
  return 4 * schedule.at("BM") * (problem.d + problem.dv + schedule.at("BN"));
}

std::string lacksIsa(const Schedule &schedule, const Machine &machine) {
  const int64_t isa = schedule.at("ISA");
  if (isa != kAvx2 && isa != kAvx512)
    return fmt::format("ISA={} is none of 2 (AVX2) and 5 (AVX-512)", isa);
  for (const char *feature : {"avx512f", "avx512bw", "avx512dq", "avx512vl"})
    if (isa == kAvx512 && !machine.has(feature))
      return fmt::format("ISA=5 needs {}, which {} has not; use ISA=2", feature, machine.name);
  return "";
}

std::string registersExceeded(const Schedule &schedule, const Machine &machine) {
  const int64_t mq = schedule.at("MQ"), mk = schedule.at("MK"), isa = schedule.at("ISA");
  if (mq < 1 || mk < 1 || mq > 64 || mk > 64)
    return fmt::format("MQ={} and MK={} must lie between 1 and 64", mq, mk);
  const int64_t needed = mq * mk + mq + 1, present = registersOf(isa);
  if (needed <= present)
    return "";
  return fmt::format(
      "MQ={}, MK={} needs {} vector registers ({} x {} accumulators, {} of queries, 1 "
      "broadcast), {} more than the {} of {}",
      mq, mk, needed, mq, mk, mq, needed - present, present, machine.name);
}

std::string rowsDoNotDivide(const Schedule &schedule) {
  const int64_t rows = schedule.at("BM"), step = schedule.at("MQ") * lanesOf(schedule.at("ISA"));
  if (rows > 0 && rows <= 4096 && step > 0 && rows % step == 0)
    return "";
  return fmt::format(
      "BM={} is no multiple of the {} rows of a register block (MQ={} vectors of {}), "
      "or not in 1 to 4096",
      rows, step, schedule.at("MQ"), lanesOf(schedule.at("ISA")));
}

std::string keysDoNotFit(const Schedule &schedule, const Machine &machine, const Problem &problem) {
  const int64_t keys = schedule.at("BN");
  if (keys < 1 || keys > 4096 || keys % 16 != 0)
    return fmt::format("BN={} is no multiple of 16, or not in 1 to 4096", keys);
  const int64_t bytes = workingSet(schedule, problem);
  if (bytes <= machine.l2Bytes)
    return "";
  return fmt::format(
      "BM={}, BN={} works on {} KiB (queries, scores and results of D={}, Dv={}), {} "
      "KiB more than the L2 of {}",
      schedule.at("BM"), keys, bytes / 1024, problem.d, problem.dv,
      (bytes - machine.l2Bytes + 1023) / 1024, machine.name);
}

std::string splitDoesNotFit(const Schedule &schedule, const Problem &problem) {
  const int64_t split = schedule.at("SPLIT"), keys = schedule.at("BN");
  if (!isDecode(problem))
    return split == 0 ? ""
                      : fmt::format("SPLIT={} but keys are split only for one query row; leave "
                                    "it 0",
                                    split);
  if (split > 0 && split <= (int64_t(1) << 30) && keys > 0 && split % keys == 0)
    return "";
  return fmt::format("SPLIT={} is no positive multiple of BN={}, as one query row needs", split,
                     keys);
}

std::string chunkDoesNotFit(const Schedule &schedule) {
  const int64_t chunk = schedule.at("CHUNK");
  return chunk >= 0 && chunk <= 4096 ? "" : fmt::format("CHUNK={} is not in 0 to 4096", chunk);
}

} // namespace heddle::compiler::rules
