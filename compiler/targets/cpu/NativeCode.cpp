// The LLVM pipeline. Vector dialect in, LLVM text, assembly or object out:
//   scf.for { vector.fma .. } -> cf + llvm dialect -> LLVM IR -> O2 -> x86-64 object
// The target machine is built from the Isa alone, never from the host, and the library functions
// LLVM would like to call (memset, memcpy) are declared absent: a kernel depends on nothing.
#include "compiler/targets/cpu/NativeCode.h"

#include "compiler/targets/cpu/StepPointers.h"

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
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "mlir/Transforms/Passes.h"

#include <fmt/format.h>

#include <memory>
#include <mutex>

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

} // namespace

Result<std::string> emitNative(ModuleOp module, const Isa &isa, NativeForm form) {
  registerBuiltinDialectTranslation(*module.getContext());
  registerLLVMDialectTranslation(*module.getContext());
  if (failed(toLlvmDialect(module)))
    return codeError("lowering to the LLVM dialect failed");
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> native = translateModuleToLLVMIR(module, context);
  if (!native)
    return codeError("translation to LLVM IR failed");
  HEDDLE_TRY(machine, makeTargetMachine(isa));
  native->setDataLayout(machine->createDataLayout());
  native->setTargetTriple(llvm::Triple(kTriple));
  setFunctionAttributes(*native, isa);
  HEDDLE_CHECK(optimise(*native, *machine));
  if (form == NativeForm::Object)
    return emitCode(*native, *machine, llvm::CodeGenFileType::ObjectFile);
  if (form == NativeForm::Assembly)
    return emitCode(*native, *machine, llvm::CodeGenFileType::AssemblyFile);
  std::string text;
  llvm::raw_string_ostream stream(text);
  native->print(stream, nullptr);
  return text;
}

} // namespace heddle::compiler::cpu
