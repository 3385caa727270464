// Names for heddle-opt: cuda-pad-tiles, cuda-fold-scale, ..; with 4 warps, 2 stages, queries in
// registers and 163 KiB of shared memory.
#include "compiler/passes/cuda/CudaPasses.h"

#include "mlir/Pass/PassRegistry.h"

namespace heddle::compiler::cuda {

void registerPasses() {
  static constexpr LayoutOptions kOptions{4, 2, true, 166912, 255, "a100"};
  using Create = std::unique_ptr<mlir::Pass> (*)();
  static constexpr Create kPasses[] = {
      [] { return createOrientProductsPass(); },
      [] { return createMultiplySumsPass(); },
      [] { return createMoveFactorsPass(); },
      [] { return createRoundOperandsPass(); },
      [] { return createPadTilesPass(kOptions); },
      [] { return createDropInnerMasksPass(); },
      [] { return createDeferSumsPass(); },
      [] { return createLazyRescalePass(); },
      [] { return createCutEdgesPass(kOptions); },
      [] { return createAssignLayoutsPass(kOptions); },
      [] { return createAssignStateLayoutsPass(kOptions); },
      [] { return createStageLoadsPass(kOptions); },
      [] { return createPlaceMemoryPass(); },
      [] { return createInsertBarriersPass(); },
      [] { return createVerifyBudgetPass(kOptions); },
  };
  for (Create create : kPasses)
    mlir::registerPass(create);
}

} // namespace heddle::compiler::cuda
