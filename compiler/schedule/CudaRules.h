// What the CUDA lines of Knobs.def are written in: defaults, and reasons why a value does not fit.
#pragma once

#include "compiler/schedule/Schedule.h"

namespace heddle::compiler::rules::cuda {

int64_t defaultWarps(const Machine &machine, const Problem &problem);
int64_t defaultRows(const Machine &machine, const Problem &problem);
int64_t defaultKeys(const Machine &machine, const Problem &problem);
int64_t defaultStages(const Machine &machine, const Problem &problem);
int64_t defaultQreg(const Machine &machine, const Problem &problem);
int64_t defaultColumns(const Problem &problem);
int64_t defaultSplit(const Problem &problem);

std::string warpsDoNotFit(const Schedule &schedule, const Machine &machine);
std::string rowsDoNotFit(const Schedule &schedule, const Machine &machine, const Problem &problem);
std::string keysDoNotFit(const Schedule &schedule, const Machine &machine, const Problem &problem);
std::string sharedExceeded(const Schedule &schedule, const Machine &machine,
                           const Problem &problem);
std::string registersExceeded(const Schedule &schedule, const Machine &machine,
                              const Problem &problem);
std::string chunkDoesNotFit(const Schedule &schedule);
std::string columnsDoNotFit(const Schedule &schedule, const Problem &problem);
std::string tensorTilesDoNotFit(const Schedule &schedule, const Machine &machine,
                                const Problem &problem);
std::string isFlag(const Schedule &schedule, const char *name);

/// Bytes of shared memory: queries, and STAGES tiles of keys and values, rows padded where a row is
/// no power of two of 16-byte chunks. Elements of 2 bytes.
int64_t sharedBytes(const Schedule &schedule, const Problem &problem);
/// Registers of a thread: accumulators, scores, queries where they stay, and 64 for addresses and
/// the rest.
int64_t registersOf(const Schedule &schedule, const Problem &problem);

} // namespace heddle::compiler::rules::cuda
