// Chooses the options of the CPU's layout passes from the request: e.g. AVX-512 with bf16 gives 16
// lanes and products of pairs. A machine that no kernel can be made for is reported later, by the
// target, which returns the reason.
#include "compiler/passes/CpuLayouts.h"

#include "compiler/machine/Isa.h"
#include "compiler/passes/CpuPasses.h"
#include "ir/tile/TileDialect.h"

#include "mlir/Pass/PassManager.h"

namespace heddle::compiler {

void addCpuLayoutPasses(mlir::OpPassManager &passes, const TargetJob &job) {
  CpuLayoutOptions options;
  auto knob = job.schedule.find("ISA");
  if (Result<cpu::Isa> isa =
          cpu::chooseIsa(job.request.deviceFacts, knob == job.schedule.end() ? 0 : knob->second)) {
    options.lanes = isa->lanes();
    options.bf16Dot = isa->bf16Dot;
  }
  mlir::OpPassManager &kernels = passes.nest<tile::ProgramOp>().nest<tile::KernelOp>();
  kernels.addPass(createAssignLayoutsPass(options));
  kernels.addPass(createPlaceMemoryPass());
  kernels.addPass(createVerifyBudgetPass(options));
}

} // namespace heddle::compiler
