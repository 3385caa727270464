// for (i = 0; i < n; i += 2)             p = base
//   x = load (base + 1088 i)       ->    for (i = 0; i < n; i += 2, p += 2176)
//   y = load (base + 1088 i) + 64          x = load p;  y = load p + 64
//
// Multiples that an address holds by itself (1, 2, 4 and 8 bytes) stay.
#include "compiler/targets/cpu/StepPointers.h"

#include "llvm/Analysis/LoopInfo.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/PatternMatch.h"

namespace heddle::compiler::cpu {
namespace {

using namespace llvm::PatternMatch;

/// An address base + factor * number, in bytes, of a number that a loop counts up.
struct Multiple {
  llvm::GetElementPtrInst *address;
  int64_t factor;
};

/// More pointers than this would drive sums out of the registers.
constexpr size_t kMost = 6;

/// What a number is multiplied by; 0: something else is done with it.
int64_t factorOf(llvm::Instruction *user, llvm::PHINode &number) {
  const llvm::APInt *constant = nullptr;
  if (match(user, m_c_Mul(m_Specific(&number), m_APInt(constant))))
    return constant->getSExtValue();
  if (match(user, m_Shl(m_Specific(&number), m_APInt(constant))) && constant->ult(32))
    return int64_t(1) << constant->getZExtValue();
  return 0;
}

llvm::SmallVector<Multiple> multiplesOf(llvm::PHINode &number, const llvm::Loop &loop) {
  llvm::SmallVector<Multiple> found;
  const llvm::DataLayout &sizes = number.getModule()->getDataLayout();
  for (llvm::User *user : number.users()) {
    auto *product = llvm::cast<llvm::Instruction>(user);
    int64_t factor = loop.contains(product) ? factorOf(product, number) : 0;
    for (llvm::User *next : product->users()) {
      auto *address = llvm::dyn_cast<llvm::GetElementPtrInst>(next);
      if (factor == 0 || !address || address->getNumIndices() != 1 ||
          address->getType()->isVectorTy() || address->getOperand(1) != product ||
          !loop.contains(address) || !loop.isLoopInvariant(address->getPointerOperand()))
        continue;
      int64_t bytes =
          factor * static_cast<int64_t>(sizes.getTypeAllocSize(address->getSourceElementType()));
      if (bytes > 8)
        found.push_back({address, bytes});
    }
  }
  return found;
}

/// Whether something changed.
bool stepPointers(const llvm::Loop &loop) {
  llvm::BasicBlock *before = loop.getLoopPreheader(), *last = loop.getLoopLatch();
  if (!before || !last)
    return false;
  bool changed = false;
  for (llvm::PHINode &number : llvm::make_early_inc_range(loop.getHeader()->phis())) {
    const llvm::APInt *step = nullptr;
    if (!number.getType()->isIntegerTy(64) ||
        !match(number.getIncomingValueForBlock(last), m_c_Add(m_Specific(&number), m_APInt(step))))
      continue;
    llvm::SmallVector<Multiple> multiples = multiplesOf(number, loop);
    if (multiples.size() > kMost)
      continue;
    for (auto [address, factor] : multiples) {
      llvm::IRBuilder<> builder(before->getTerminator());
      auto at = [&](llvm::Value *base, llvm::Value *count) {
        return builder.CreateGEP(builder.getInt8Ty(), base,
                                 builder.CreateMul(count, builder.getInt64(factor)));
      };
      llvm::Value *first =
          at(address->getPointerOperand(), number.getIncomingValueForBlock(before));
      builder.SetInsertPoint(loop.getHeader(), loop.getHeader()->begin());
      llvm::PHINode *pointer = builder.CreatePHI(address->getType(), 2);
      builder.SetInsertPoint(last->getTerminator());
      pointer->addIncoming(first, before);
      pointer->addIncoming(at(pointer, builder.getInt64(step->getSExtValue())), last);
      address->replaceAllUsesWith(pointer);
      address->eraseFromParent();
      changed = true;
    }
  }
  return changed;
}

} // namespace

llvm::PreservedAnalyses StepPointers::run(llvm::Function &function,
                                          llvm::FunctionAnalysisManager &analyses) {
  bool changed = false;
  for (llvm::Loop *loop : analyses.getResult<llvm::LoopAnalysis>(function).getLoopsInPreorder())
    if (loop->isInnermost())
      changed |= stepPointers(*loop);
  return changed ? llvm::PreservedAnalyses::none() : llvm::PreservedAnalyses::all();
}

} // namespace heddle::compiler::cpu
