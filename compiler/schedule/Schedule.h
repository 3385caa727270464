// Schedules: values of knobs. Knobs.def is the table; here is what one asks of it.
#pragma once

#include "compiler/machine/Machine.h"
#include "runtime/DType.h"
#include "runtime/Request.h"
#include "runtime/Result.h"

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace heddle::compiler {

/// Values of all knobs by name.
using Schedule = std::map<std::string, int64_t>;

/// What defaults and legality depend on besides the machine.
struct Problem {
  std::string form = "attention";
  DType dtype = DType::F32;
  int64_t d = 64, dv = 64; ///< key width, value width
  int64_t group = 1;       ///< query heads to a key head
  ExtentClass rows;        ///< of Tq
  bool scan = false;       ///< a state is carried along: chunked or recurrent, by form or by dims

  /// From the static dims (D, Dv, Dc, G; the last dims of q and v), dtypes["*"] and extents of a
  /// request.
  static Problem of(const Request &request);
};

/// One line of Knobs.def.
struct Knob {
  const char *name;
  const char *target; ///< which target reads it: cpu | cuda
  const char *help;
  std::vector<int64_t> candidates;
  int64_t (*byDefault)(const Machine &, const Problem &);
  /// Why the value does not fit, naming what and by how much; empty if it does. All knobs are set.
  std::string (*refuse)(const Schedule &, const Machine &, const Problem &);
};

/// All knobs of a target, in the table's order, which is the canonical order.
std::vector<Knob> knobs(std::string_view target);

/// "BM=64,BN=128" -> values. Fails on what is not NAME=NUMBER[,...], unknown knobs (with the list)
/// and knobs named twice.
Result<Schedule> parseSchedule(std::string_view text, std::string_view target);
/// In canonical order: "BM=64,BN=128".
std::string toString(const Schedule &schedule, std::string_view target);

/// The given values, the others by default; then checkSchedule.
Result<Schedule> completeSchedule(const Schedule &given, const Machine &machine,
                                  const Problem &problem);
/// InvalidArgument with every reason why the complete schedule does not fit the machine.
Status checkSchedule(const Schedule &schedule, const Machine &machine, const Problem &problem);

/// Every legal combination of candidates, the default first, then in lexical order of the canonical
/// order. Knob ISA takes its default alone. Empty if nothing fits: heads too wide for the machine.
std::vector<Schedule> legalSchedules(const Machine &machine, const Problem &problem);

} // namespace heddle::compiler
