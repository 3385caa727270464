// The table of contents of the compiler: what happens to a kernel, in order.
//
//   pattern   parsed and verified                                   ir/pattern
//   form      abstract kernels: one masked loop over all keys       compiler/forms
//   tile      loop bounds, edge and full bodies                     here: addTilePasses
//   layouts   who holds what: layouts, spaces, scratch              here: add..LayoutPasses
//   vector    }
//   llvm      } code                                                compiler/targets/<target>
//   asm       }
#include "compiler/Pipeline.h"

#include "compiler/machine/Isa.h"
#include "compiler/passes/CpuPasses.h"
#include "compiler/passes/Passes.h"
#include "ir/tile/TileDialect.h"

#include "mlir/Pass/PassManager.h"

namespace heddle::compiler {

void addTilePasses(mlir::OpPassManager &passes) {
  passes.addPass(createTileLoopsPass());    // bounds of loops from the support
  passes.addPass(createSplitEdgesPass());   // edge bodies keep the mask, full bodies lose it
  passes.addPass(createSimplifyMapsPass()); // constants folded, exp2, maps joined
}

Status addCpuLayoutPasses(mlir::OpPassManager &passes, const TargetJob &job) {
  auto knob = job.schedule.find("ISA");
  HEDDLE_TRY(
      isa, cpu::chooseIsa(job.request.deviceFacts, knob == job.schedule.end() ? 0 : knob->second));
  CpuLayoutOptions options{isa.lanes(), isa.bf16Dot, job.machine.l2Bytes};
  mlir::OpPassManager &kernels = passes.nest<tile::ProgramOp>().nest<tile::KernelOp>();
  kernels.addPass(createAssignLayoutsPass(options)); // layout and space of every tile
  kernels.addPass(createPlaceMemoryPass());          // offsets in a worker's scratch
  kernels.addPass(createVerifyBudgetPass(options));  // does it fit the machine
  return {};
}

} // namespace heddle::compiler
