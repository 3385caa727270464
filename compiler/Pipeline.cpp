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
#include "compiler/passes/Passes.h"
#include "compiler/passes/cpu/CpuPasses.h"
#include "compiler/passes/cuda/CudaPasses.h"
#include "ir/tile/TileDialect.h"

#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

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
  CpuLayoutOptions options{isa.lanes(), isa.dotPays, job.machine.l2Bytes, isa.amx};
  mlir::OpPassManager &kernels = passes.nest<tile::ProgramOp>().nest<tile::KernelOp>();
  if (options.amx || options.bf16Dot)
    kernels.addPass(createRoundProductsPass(options)); // products of a state in bf16
  if (options.bf16Dot)
    kernels.addPass(createCarryRoundedPass());   // a state is rounded where it is made
  kernels.addPass(createFoldScalePass());        // one multiply-add a score
  kernels.addPass(createHoistReciprocalsPass()); // a row is divided once
  if (options.amx)
    kernels.addPass(createKeepBasePass());           // sums are seldom scaled
  kernels.addPass(createAssignLayoutsPass(options)); // layout and space of every tile
  kernels.addPass(createPlaceMemoryPass());          // offsets in a worker's scratch
  kernels.addPass(createVerifyBudgetPass(options));  // does it fit the machine
  return {};
}

static Status checkArchitecture(const Request &request) {
  constexpr std::string_view kKnown[] = {"sm_80",  "sm_86",   "sm_89",  "sm_90",  "sm_90a",
                                         "sm_100", "sm_100a", "sm_120", "sm_120a"};
  for (std::string_view known : kKnown)
    if (request.target == known)
      return {};
  return Error{ErrorCode::Unsupported, fmt::format("found architecture {}, expected one of {}",
                                                   request.target, fmt::join(kKnown, ", "))};
}

Status addCudaLayoutPasses(mlir::OpPassManager &passes, const TargetJob &job) {
  HEDDLE_CHECK(checkArchitecture(job.request));
  const Schedule &schedule = job.schedule;
  cuda::LayoutOptions options{schedule.at("WARPS"),
                              schedule.at("STAGES"),
                              schedule.at("QREG") == 1,
                              job.machine.gpu.sharedBytesPerBlock,
                              255,
                              job.machine.name.c_str(),
                              schedule.at("TMA") == 1};
  mlir::OpPassManager &kernels = passes.nest<tile::ProgramOp>().nest<tile::KernelOp>();
  kernels.addPass(cuda::createOrientProductsPass());  // warps share the state's columns
  kernels.addPass(cuda::createMultiplySumsPass());    // normalisers by products
  kernels.addPass(cuda::createMoveFactorsPass());     // numbers a token to registers
  kernels.addPass(cuda::createRoundOperandsPass());   // products of a state in 16 bits
  kernels.addPass(cuda::createPadTilesPass(options)); // whole instructions
  kernels.addPass(createSimplifyMapsPass());          // rounding joins what is rounded
  kernels.addPass(cuda::createDropInnerMasksPass());  // powers that are masked anyway
  kernels.addPass(createFoldScalePass());             // one multiply-add a score
  kernels.addPass(cuda::createDeferSumsPass());       // row sums in shares, one a thread
  kernels.addPass(createHoistReciprocalsPass());      // a row is divided once
  kernels.addPass(mlir::createCSEPass());
  kernels.addPass(cuda::createCutEdgesPass(options));      // parts of masked tiles
  kernels.addPass(cuda::createAssignLayoutsPass(options)); // layout and space of every tile
  kernels.addPass(cuda::createAssignStateLayoutsPass(options));
  if (schedule.at("RESCALE") == 1)
    kernels.addPass(cuda::createLazyRescalePass());     // accumulators scaled only when needed
  kernels.addPass(cuda::createStageLoadsPass(options)); // rings, filled ahead
  kernels.addPass(mlir::createCanonicalizerPass());
  kernels.addPass(mlir::createCSEPass());
  kernels.addPass(cuda::createPlaceMemoryPass());         // offsets in shared memory
  kernels.addPass(cuda::createInsertBarriersPass());      // groups, waits, barriers
  kernels.addPass(cuda::createVerifyBudgetPass(options)); // does it fit the machine
  return {};
}

} // namespace heddle::compiler
