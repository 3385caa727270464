// The problem a command works on: a pattern, its sizes, element type, parameters, and the request
// they make. The options are the same for show, compile, run, tune, bench and explain.
#pragma once

#include "runtime/Jit.h"
#include "tools/heddle/Command.h"
#include "tools/heddle/HostTensor.h"
#include "tools/heddle/Library.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace heddle::tool {

/// What the command line says.
struct ProblemOptions {
  std::string pattern, model, layer;
  std::string shape, dtype, parameters, form = "auto", schedule;
  std::string target, machine, device = "cpu"; ///< target: empty, what the device runs
  int threads = 0;
  bool json = false, noStore = false, quiet = false;
};

/// Adds PATTERN and the options above to a subcommand.
void addProblemOptions(CLI::App &command, ProblemOptions &options);
/// Adds --json alone.
void addJsonOption(CLI::App &command, bool &json);

struct Problem {
  PatternFile pattern;
  Signature signature;
  Extents extents; ///< of every named dim
  DType dtype = DType::BF16;
  std::map<std::string, double> parameters; ///< given ones; others take their default
  Request request;                          ///< complete: the context has filled in its part
  bool tuned = false;                       ///< the schedule is a sweep's winner
  std::shared_ptr<Context> context;

  /// The run-time parameters, for a launch. Views into `parameters`.
  std::vector<ParameterValue> launchParameters() const;
  /// Threads the device uses: as given, else as many as the process may.
  int threads() const;
  /// "B=1 Hq=32 ...": every dim.
  std::string shapeText() const;
  std::string dtypeName() const { return toString(dtype); }
};

/// Finds the pattern, fixes every dim (from --model, --shape and the given inputs, which must
/// agree) and makes the request. `inputs` are tensors already read, by name.
Result<Problem> resolveProblem(const ProblemOptions &options,
                               const std::map<std::string, HostTensor> &inputs = {});

/// Opens the context of these options: device, threads, store, messages on stderr unless quiet.
Result<std::shared_ptr<Context>> openContext(const ProblemOptions &options);

/// Every tensor of the signature, in calling order: given ones rounded to the kernel's dtype, other
/// inputs random by `seed` (normal numbers; log-decays are negative), results zeroed. Integer
/// inputs that are not given are an error.
Result<std::vector<HostTensor>> makeTensors(const Problem &problem,
                                            std::map<std::string, HostTensor> given, uint64_t seed);

/// The tensors with their names, inputs and results, as the compiler library takes them.
std::vector<NamedTensor> namedTensors(const Signature &signature,
                                      const std::vector<HostTensor> &tensors);

/// Views of owned tensors, in order.
std::vector<TensorView> viewsOf(const std::vector<HostTensor> &tensors);

} // namespace heddle::tool
