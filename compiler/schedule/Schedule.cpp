// Everything asked of the table of knobs: parse, print, complete, check, enumerate.
//   {BM=128} on x86-avx512, D=128  ->  ISA=5,MQ=4,MK=4,BM=128,BN=128,SPLIT=0
#include "compiler/schedule/Schedule.h"

#include "compiler/schedule/CudaRules.h"
#include "compiler/schedule/Rules.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace heddle::compiler {
namespace {

using namespace rules;

const std::vector<int64_t> kNoCandidates;

#define HEDDLE_UNPACK(...) __VA_ARGS__
std::vector<Knob> allKnobs() {
  return {
#define HEDDLE_KNOB(name, target, candidates, byDefault, refusal, help)                            \
  Knob{#name,                                                                                      \
       #target,                                                                                    \
       help,                                                                                       \
       HEDDLE_UNPACK candidates,                                                                   \
       [](const Machine &m, const Problem &p) -> int64_t { return (void)m, (void)p, byDefault; },  \
       [](const Schedule &s, const Machine &m, const Problem &p) -> std::string {                  \
         return (void)s, (void)m, (void)p, refusal;                                                \
       }},
#include "compiler/schedule/Knobs.def"
#undef HEDDLE_KNOB
  };
}

/// sm_80, sm_90a, ... share the target cuda.
std::string_view family(std::string_view target) {
  return target.starts_with("sm_") ? "cuda" : target;
}

std::string namesOf(const std::vector<Knob> &table) {
  std::vector<std::string> names;
  for (const Knob &knob : table)
    names.push_back(knob.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

const Knob *find(const std::vector<Knob> &table, std::string_view name) {
  for (const Knob &knob : table)
    if (name == knob.name)
      return &knob;
  return nullptr;
}

Status checkNames(const Schedule &schedule, std::string_view target) {
  const std::vector<Knob> table = knobs(target);
  for (const auto &[name, value] : schedule)
    if (!find(table, name))
      return Error{ErrorCode::InvalidArgument,
                   fmt::format("found the knob '{}', expected one of {} for {}", name,
                               namesOf(table), target)};
  return {};
}

/// The machine without what a given ISA leaves unused, so that the other defaults suit it.
Machine narrowed(const Machine &machine, const Schedule &given) {
  Machine narrow = machine;
  if (const auto isa = given.find("ISA"); isa != given.end() && isa->second == kAvx2)
    std::erase_if(narrow.features, [](const std::string &f) { return f.starts_with("avx512"); });
  return narrow;
}

/// Reasons against a complete schedule, without repetition (two knobs may share a rule).
std::vector<std::string> refusals(const std::vector<Knob> &table, const Schedule &schedule,
                                  const Machine &machine, const Problem &problem) {
  std::vector<std::string> reasons;
  for (const Knob &knob : table) {
    std::string reason = knob.refuse(schedule, machine, problem);
    if (!reason.empty() && !std::count(reasons.begin(), reasons.end(), reason))
      reasons.push_back(std::move(reason));
  }
  return reasons;
}

/// Tries every candidate of the knobs from `at` on; the knobs before are set.
/// Whether a sweep tries the knob's candidates: those that the form reads. The widest instruction
/// set is best but for rare machines: the other is tried when named.
bool isSwept(std::string_view knob, const Problem &problem) {
  const bool ofAttention = knob == "BM" || knob == "BN" || knob == "SPLIT" || knob == "QREG" ||
                           knob == "RESCALE" || knob == "TMA";
  const bool scan = problem.form == "chunked" || problem.form == "recurrent";
  if (knob == "ISA" || (ofAttention && scan))
    return false;
  return knob != "CHUNK" || problem.form == "chunked";
}

void extend(const std::vector<Knob> &table, size_t at, Schedule &schedule, const Machine &machine,
            const Problem &problem, std::vector<Schedule> &found) {
  if (at == table.size()) {
    if (refusals(table, schedule, machine, problem).empty())
      found.push_back(schedule);
    return;
  }
  const Knob &knob = table[at];
  const int64_t byDefault = knob.byDefault(machine, problem);
  std::vector<int64_t> values = isSwept(knob.name, problem) ? knob.candidates : kNoCandidates;
  if (!std::count(values.begin(), values.end(), byDefault))
    values.insert(std::lower_bound(values.begin(), values.end(), byDefault), byDefault);
  for (int64_t value : values) {
    schedule[knob.name] = value;
    extend(table, at + 1, schedule, machine, problem, found);
  }
}

} // namespace

Problem Problem::of(const Request &request) {
  const auto dim = [&](const char *name, int64_t otherwise) {
    const auto found = request.dims.find(name);
    return found == request.dims.end() ? otherwise : found->second;
  };
  Problem problem;
  problem.form = request.form == "auto" ? "attention" : request.form;
  if (const auto type = request.dtypes.find("*"); type != request.dtypes.end())
    problem.dtype = type->second;
  problem.scan =
      problem.form != "attention" ||
      (request.form == "auto" && request.extents.contains("T") && !request.extents.contains("Tq"));
  problem.d = dim("D", dim("K", 64));
  // Absorbed latent attention sums the Dc columns of its cache.
  problem.dv = std::max(dim("Dv", dim("V", problem.d)), dim("Dc", 0));
  problem.group = dim("G", 1);
  for (const char *name : {"Tq", "T"})
    if (const auto rows = request.extents.find(name); rows != request.extents.end()) {
      problem.rows = rows->second;
      break;
    }
  return problem;
}

std::vector<Knob> knobs(std::string_view target) {
  std::vector<Knob> table = allKnobs();
  std::erase_if(table, [&](const Knob &knob) { return family(target) != knob.target; });
  return table;
}

Result<Schedule> parseSchedule(std::string_view text, std::string_view target) {
  HEDDLE_TRY(schedule, parseScheduleText(text));
  HEDDLE_CHECK(checkNames(schedule, target));
  return schedule;
}

std::string toString(const Schedule &schedule, std::string_view target) {
  std::string text;
  for (const Knob &knob : knobs(target))
    if (const auto value = schedule.find(knob.name); value != schedule.end())
      text += fmt::format("{}{}={}", text.empty() ? "" : ",", knob.name, value->second);
  return text;
}

Result<Schedule> completeSchedule(const Schedule &given, const Machine &machine,
                                  const Problem &problem) {
  HEDDLE_CHECK(checkNames(given, machine.target));
  const Machine assumed = narrowed(machine, given);
  Schedule schedule;
  for (const Knob &knob : knobs(machine.target)) {
    const auto value = given.find(knob.name);
    schedule[knob.name] = value != given.end() ? value->second : knob.byDefault(assumed, problem);
  }
  HEDDLE_CHECK(checkSchedule(schedule, machine, problem));
  return schedule;
}

Status checkSchedule(const Schedule &schedule, const Machine &machine, const Problem &problem) {
  const std::vector<Knob> table = knobs(machine.target);
  for (const Knob &knob : table)
    if (!schedule.count(knob.name))
      return Error{ErrorCode::InvalidArgument,
                   fmt::format("found a schedule without {}, expected all of {}", knob.name,
                               namesOf(table))};
  const std::vector<std::string> reasons = refusals(table, schedule, machine, problem);
  if (reasons.empty())
    return {};
  return Error{ErrorCode::InvalidArgument,
               fmt::format("found a schedule that does not fit: {}", reasons[0]),
               "",
               {reasons.begin() + 1, reasons.end()}};
}

std::vector<Schedule> legalSchedules(const Machine &machine, const Problem &problem) {
  const std::vector<Knob> table = knobs(machine.target);
  std::vector<Schedule> found;
  Schedule schedule;
  extend(table, 0, schedule, machine, problem, found);
  for (const Knob &knob : table)
    schedule[knob.name] = knob.byDefault(machine, problem);
  if (std::erase(found, schedule) > 0)
    found.insert(found.begin(), schedule);
  return found;
}

} // namespace heddle::compiler
