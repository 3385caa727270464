// What the lines of Knobs.def are written in: defaults, and reasons why a value does not fit.
#pragma once

#include "compiler/schedule/Schedule.h"

namespace heddle::compiler::rules {

/// Levels of knob ISA.
inline constexpr int64_t kAvx2 = 2, kAvx512 = 5;

int64_t widestIsa(const Machine &machine);
int64_t defaultMq(const Machine &machine, const Problem &problem);
int64_t defaultMk(const Machine &machine, const Problem &problem);
int64_t defaultBm(const Machine &machine, const Problem &problem);
int64_t defaultBn(const Machine &machine, const Problem &problem);
int64_t defaultSplit(const Problem &problem);

std::string lacksIsa(const Schedule &schedule, const Machine &machine);
std::string registersExceeded(const Schedule &schedule, const Machine &machine);
std::string rowsDoNotDivide(const Schedule &schedule);
std::string keysDoNotFit(const Schedule &schedule, const Machine &machine, const Problem &problem);
std::string splitDoesNotFit(const Schedule &schedule, const Problem &problem);
std::string chunkDoesNotFit(const Schedule &schedule);

/// f32 in a vector, and architectural vector registers, of a level of knob ISA.
int64_t lanesOf(int64_t isa);
int64_t registersOf(int64_t isa);

/// Bytes a grid point works on besides K and V: packed Q, scores and O, in f32.
int64_t workingSet(const Schedule &schedule, const Problem &problem);

} // namespace heddle::compiler::rules
