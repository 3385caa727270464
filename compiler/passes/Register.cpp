// Names for heddle-opt: simplify-maps, assign-layouts-cpu, ..; passes/cuda has its own.
#include "compiler/passes/Passes.h"
#include "compiler/passes/cpu/CpuPasses.h"

#include "mlir/Pass/PassRegistry.h"

namespace heddle::compiler {

void registerPasses() {
  using Create = std::unique_ptr<mlir::Pass> (*)();
  static constexpr Create kPasses[] = {
      [] { return createTileLoopsPass(); },
      [] { return createSplitEdgesPass(); },
      [] { return createSimplifyMapsPass(); },
      [] { return createFoldScalePass(); },
      [] { return createHoistReciprocalsPass(); },
      [] { return createRoundProductsPass({.amx = true}); },
      [] { return createCarryRoundedPass(); },
      [] { return createKeepBasePass(); },
      [] { return createAssignLayoutsPass({}); },
      [] { return createPlaceMemoryPass(); },
      [] { return createVerifyBudgetPass({}); },
  };
  for (Create create : kPasses)
    mlir::registerPass(create);
}

} // namespace heddle::compiler
