// The table of targets: what turns the tile IR of a request into code. Compiler.cpp walks the
// pipeline up to concrete tile IR, fills everything of the Artifact that is the same for every
// target (scalars, tensors, arguments, launches, workspace), then calls the target for the code.
// To add a target: a folder compiler/targets/<name> and one line in Target.cpp.
#pragma once

#include "compiler/Compiler.h"
#include "compiler/machine/Machine.h"
#include "runtime/Artifact.h"
#include "runtime/Request.h"
#include "runtime/Result.h"

#include <string>
#include <string_view>
#include <vector>

namespace mlir {
class ModuleOp;
class OpPassManager;
} // namespace mlir

namespace heddle::compiler {

/// What a target may look at besides the IR. Borrowed for the length of one call.
struct TargetJob {
  const Request &request;
  const Schedule &schedule; ///< every knob with its value, defaults filled in
  const Machine &machine;
};

struct Target {
  std::string_view name; ///< prefix of Request::target: "cpu", "sm_"

  /// Adds the passes from abstract tile IR (after SimplifyMaps) to concrete tile IR: AssignLayouts,
  /// PlaceMemory, VerifyBudget and whatever else the target needs, in order. Fails where the
  /// request's machine cannot run the target's code.
  Status (*addLayoutPasses)(mlir::OpPassManager &passes, const TargetJob &job);

  /// Lowers the one tile.program of `module` (concrete stage; the callee may destroy the module) to
  /// code. On entry `artifact` is complete but for: image, requiredFeatures, sources, and of each
  /// launch sharedBytes (and block, which the CPU leaves alone). Each tile.kernel becomes an entry
  /// of the launch's name that reads its arguments from the parameter block at the offsets of
  /// artifact.arguments. A grid dimension marked `desc` counts down in the entry: grid point x
  /// works on index extent - 1 - x. Fails with Unsupported or ResourceExhausted and the reason, or
  /// with CompilerFailure.
  Status (*emit)(mlir::ModuleOp module, const TargetJob &job, Artifact &artifact);

  /// The text of the target's own station (one of stations after "layouts") for the same input.
  Result<std::string> (*show)(mlir::ModuleOp module, const TargetJob &job, const Artifact &artifact,
                              std::string_view station);

  /// Names of the target's own stations in order, e.g. vector, llvm, asm.
  std::vector<std::string> (*stations)();
};

/// The target whose name is a prefix of `name`, or NotFound with the list of known ones.
Result<const Target *> findTarget(std::string_view name);

} // namespace heddle::compiler
