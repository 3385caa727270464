// The LLVM pipeline. Vector dialect in, LLVM text, assembly or object out:
//   scf.for { vector.fma .. } -> cf + llvm dialect -> LLVM IR -> O2 -> x86-64 object
//   a module for each kernel from the start, threads over them
// The target machine is built from the Isa alone, never from the host, and the library functions
// LLVM would like to call (memset, memcpy) are declared absent: a kernel depends on nothing.
#include "compiler/targets/cpu/NativeCode.h"

#include "compiler/targets/cpu/StepPointers.h"

#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Transforms/Scalar.h"
#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/FuncToLLVM/ConvertFuncToLLVM.h"
#include "mlir/Conversion/LLVMCommon/ConversionTarget.h"
#include "mlir/Conversion/LLVMCommon/TypeConverter.h"
#include "mlir/Conversion/MathToLLVM/MathToLLVM.h"
#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVM.h"
#include "mlir/Dialect/Arith/Transforms/Passes.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Interfaces/CallInterfaces.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "mlir/Transforms/Passes.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <numeric>
#include <system_error>
#include <thread>

using namespace mlir;

namespace heddle::compiler::cpu {
namespace {

constexpr const char *kTriple = "x86_64-unknown-linux-gnu";

// What blocked code needs of O2: the same loops come out in a quarter of the time. Value numbering,
// dead stores and unrolling find nothing in it: products are unrolled where they are made.
constexpr const char *kPipeline =
    "always-inline,function(early-cse<memssa>,simplifycfg,loop-mssa(licm<allowspeculation>),"
    "instcombine<no-verify-fixpoint>,early-cse<memssa>,loop-mssa(licm),adce,simplifycfg)";

Error codeError(const std::string &message) { return {ErrorCode::CompilerFailure, message}; }

/// All dialects in one conversion that never undoes a step: a pass for each takes twice the time.
LogicalResult toLlvmDialect(ModuleOp module) {
  PassManager passes(module.getContext());
  passes.enableVerifier(false);
  passes.addPass(createCSEPass());
  passes.addPass(createSCFToControlFlowPass());
  if (failed(passes.run(module)))
    return failure();
  MLIRContext *context = module.getContext();
  LLVMTypeConverter types(context);
  RewritePatternSet patterns(context);
  arith::populateCeilFloorDivExpandOpsPatterns(patterns);
  arith::populateArithToLLVMConversionPatterns(types, patterns);
  populateMathToLLVMConversionPatterns(types, patterns);
  populateVectorToLLVMConversionPatterns(types, patterns);
  cf::populateControlFlowToLLVMConversionPatterns(types, patterns);
  populateFuncToLLVMConversionPatterns(types, patterns);
  LLVMConversionTarget target(*context);
  target.addLegalOp<ModuleOp>();
  ConversionConfig config;
  config.allowPatternRollback = false;
  return applyFullConversion(module, target, std::move(patterns), config);
}

Result<std::unique_ptr<llvm::TargetMachine>> makeTargetMachine(const Isa &isa) {
  static std::once_flag once;
  std::call_once(once, [] {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
  });
  std::string error;
  llvm::Triple triple(kTriple);
  const llvm::Target *target = llvm::TargetRegistry::lookupTarget(triple, error);
  if (!target)
    return codeError("LLVM has no x86-64 target: " + error);
  std::unique_ptr<llvm::TargetMachine> machine(target->createTargetMachine(
      triple, isa.llvmCpu(), isa.llvmFeatures(), llvm::TargetOptions(), llvm::Reloc::PIC_,
      llvm::CodeModel::Small, llvm::CodeGenOptLevel::Default));
  if (!machine)
    return codeError("LLVM made no target machine for " + isa.llvmCpu());
  return machine;
}

void setFunctionAttributes(llvm::Module &module, const Isa &isa) {
  for (llvm::Function &function : module) {
    if (function.isDeclaration())
      continue;
    function.addFnAttr("no-builtins");
    function.addFnAttr("target-cpu", isa.llvmCpu());
    function.addFnAttr("target-features", isa.llvmFeatures());
    function.addFnAttr("tune-cpu", isa.tuneCpu);
    function.addFnAttr(llvm::Attribute::NoUnwind);
  }
}

Status optimise(llvm::Module &module, llvm::TargetMachine &machine) {
  llvm::PipelineTuningOptions tuning;
  // Kernels arrive blocked and vectorised; more of either would only cost registers and time.
  tuning.LoopVectorization = false;
  tuning.SLPVectorization = false;
  llvm::PassBuilder builder(&machine, tuning);
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager components;
  llvm::ModuleAnalysisManager modules;
  llvm::TargetLibraryInfoImpl library(machine.getTargetTriple());
  library.disableAllFunctions();
  functions.registerPass([&] { return llvm::TargetLibraryAnalysis(library); });
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(components);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, components, modules);
  llvm::ModulePassManager passes;
  if (llvm::Error error = builder.parsePassPipeline(passes, kPipeline))
    return codeError("LLVM refuses the pass pipeline: " + llvm::toString(std::move(error)));
  passes.addPass(llvm::createModuleToFunctionPassAdaptor(StepPointers()));
  passes.run(module, modules);
  return {};
}

/// Code generation without strength reduction, whose part StepPointers does.
class CodePasses : public llvm::legacy::PassManager {
public:
  void add(llvm::Pass *pass) override {
    static const llvm::AnalysisID strengthReduction =
        std::unique_ptr<llvm::Pass>(llvm::createLoopStrengthReducePass())->getPassID();
    if (pass->getPassID() == strengthReduction)
      delete pass;
    else
      llvm::legacy::PassManager::add(pass);
  }
};

Result<std::string> emitCode(llvm::Module &module, llvm::TargetMachine &machine,
                             llvm::CodeGenFileType type) {
  llvm::SmallString<0> bytes;
  llvm::raw_svector_ostream stream(bytes);
  CodePasses passes;
  if (machine.addPassesToEmitFile(passes, stream, nullptr, type))
    return codeError("LLVM cannot emit this file type");
  passes.run(module);
  return bytes.str().str();
}

/// A function and all that it calls, directly or not.
SmallVector<FunctionOpInterface> reachedFrom(FunctionOpInterface entry, ModuleOp module) {
  llvm::SetVector<FunctionOpInterface> reached;
  reached.insert(entry);
  for (size_t n = 0; n < reached.size(); ++n)
    FunctionOpInterface(reached[n]).walk([&](CallOpInterface call) {
      auto callee = dyn_cast<SymbolRefAttr>(call.getCallableForCallee());
      if (auto function =
              callee ? module.lookupSymbol<FunctionOpInterface>(callee) : FunctionOpInterface())
        reached.insert(function);
    });
  return reached.takeVector();
}

/// Moves each function that the module exports to a module with those that it reaches; what several
/// reach, each gets. Where one that is exported is called, all stay together.
SmallVector<OwningOpRef<ModuleOp>> splitByExport(ModuleOp module) {
  SmallVector<SmallVector<FunctionOpInterface>> groups;
  DenseMap<Operation *, int> exports; // that reach it
  for (auto function : module.getOps<FunctionOpInterface>())
    if (!function.isPrivate())
      for (FunctionOpInterface reached : groups.emplace_back(reachedFrom(function, module)))
        ++exports[reached];
  auto isCalled = [&](ArrayRef<FunctionOpInterface> group) { return exports[group.front()] > 1; };
  SmallVector<OwningOpRef<ModuleOp>> parts;
  if (llvm::any_of(groups, isCalled) || groups.empty()) {
    Block &all = *parts.emplace_back(ModuleOp::create(module.getLoc()))->getBody();
    all.getOperations().splice(all.end(), module.getBody()->getOperations());
    return parts;
  }
  auto internal = LLVM::LinkageAttr::get(module.getContext(), LLVM::Linkage::Internal);
  for (ArrayRef<FunctionOpInterface> group : groups) {
    ModuleOp part = *parts.emplace_back(ModuleOp::create(module.getLoc()));
    for (FunctionOpInterface function : group) {
      if (exports[function] > 1) {
        function = function.clone();
        if (!function.isExternal())
          function->setAttr("llvm.linkage", internal);
      } else {
        function->remove();
      }
      part.push_back(function);
    }
  }
  return parts;
}

/// A module of LLVM IR with the context that it lives in: threads share none.
struct NativeModule {
  std::unique_ptr<llvm::LLVMContext> context = std::make_unique<llvm::LLVMContext>();
  std::unique_ptr<llvm::Module> module;
  std::unique_ptr<llvm::TargetMachine> machine;
};

Result<NativeModule> translate(ModuleOp module, const Isa &isa) {
  NativeModule native;
  native.module = translateModuleToLLVMIR(module, *native.context);
  if (!native.module)
    return codeError("translation to LLVM IR failed");
  HEDDLE_TRY(machine, makeTargetMachine(isa));
  native.machine = std::move(machine);
  native.module->setDataLayout(native.machine->createDataLayout());
  native.module->setTargetTriple(llvm::Triple(kTriple));
  setFunctionAttributes(*native.module, isa);
  return native;
}

void registerTranslations(MLIRContext &context) {
  registerBuiltinDialectTranslation(context);
  registerLLVMDialectTranslation(context);
}

Status toLlvm(ModuleOp module) {
  return failed(toLlvmDialect(module)) ? Status(codeError("lowering to the LLVM dialect failed"))
                                       : Status();
}

/// Calls `work` for 0 .. count - 1 on as many threads as there are processors, on fewer where the
/// system gives none.
void inParallel(size_t count, llvm::function_ref<void(size_t)> work) {
  std::atomic<size_t> next = 0;
  const auto takeTurns = [&] {
    for (size_t n; (n = next++) < count;)
      work(n);
  };
  std::vector<std::thread> others;
  const size_t threads = std::min<size_t>(count, std::thread::hardware_concurrency());
  try {
    while (others.size() + 1 < threads)
      others.emplace_back(takeTurns);
  } catch (const std::system_error &) {
  }
  takeTurns();
  for (std::thread &other : others)
    other.join();
}

} // namespace

Result<std::vector<std::string>> emitObjects(ModuleOp module, const Isa &isa) {
  SmallVector<OwningOpRef<ModuleOp>> parts = splitByExport(module);
  // The longest first, so that none of them is begun alone at the end.
  std::vector<size_t> order(parts.size()), lengths(parts.size());
  std::iota(order.begin(), order.end(), 0);
  for (size_t n : order)
    parts[n]->walk([&](Operation *) { ++lengths[n]; });
  llvm::sort(order, [&](size_t a, size_t b) {
    return std::pair(lengths[b], a) < std::pair(lengths[a], b);
  });
  const auto emit = [&](ModuleOp part) -> Result<std::string> {
    HEDDLE_CHECK(toLlvm(part));
    HEDDLE_TRY(native, translate(part, isa));
    HEDDLE_CHECK(optimise(*native.module, *native.machine));
    return emitCode(*native.module, *native.machine, llvm::CodeGenFileType::ObjectFile);
  };
  MLIRContext *context = module.getContext(); // which the threads share
  context->getOrLoadDialect<cf::ControlFlowDialect>();
  registerTranslations(*context);
  const bool threaded = context->isMultithreadingEnabled();
  context->enableMultithreading(threaded || parts.size() > 1);
  std::vector<Result<std::string>> emitted(parts.size(), Error{});
  inParallel(order.size(), [&](size_t turn) { emitted[order[turn]] = emit(*parts[order[turn]]); });
  context->enableMultithreading(threaded);
  std::vector<std::string> objects;
  for (Result<std::string> &object : emitted) {
    HEDDLE_TRY(bytes, std::move(object));
    objects.push_back(std::move(bytes));
  }
  return objects;
}

Result<std::string> printNative(ModuleOp module, const Isa &isa, NativeText form) {
  registerTranslations(*module.getContext());
  HEDDLE_CHECK(toLlvm(module));
  HEDDLE_TRY(native, translate(module, isa));
  HEDDLE_CHECK(optimise(*native.module, *native.machine));
  if (form == NativeText::Assembly)
    return emitCode(*native.module, *native.machine, llvm::CodeGenFileType::AssemblyFile);
  std::string text;
  llvm::raw_string_ostream stream(text);
  native.module->print(stream, nullptr);
  return text;
}

} // namespace heddle::compiler::cpu
