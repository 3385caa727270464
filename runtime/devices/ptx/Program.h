// A kernel ready to run: instructions with a handler each, dense register offsets, settled labels.
#pragma once

#include "runtime/devices/ptx/Syntax.h"

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace heddle::ptx {

inline constexpr int kLanes = 32;
inline constexpr uint32_t kAllLanes = ~uint32_t{0};

class Warp;
struct Inst;

/// Where 32 values, one a lane, stand. A predicate is one word, a bit a lane.
struct Operand {
  enum Base : uint8_t { Frame, Constants, Specials };
  uint32_t offset = 0;
  Base base = Frame;
  uint8_t bytes = 4; // of a lane's value; 0: a predicate
  bool negated = false;
};

/// Does an instruction for the lanes of `mask` (never none).
using Handler = void (*)(Warp &, const Inst &, uint32_t mask);

/// What the scheduler does with an instruction besides calling its handler.
enum class Flow : uint8_t {
  Plain,
  Branch,        // to `target`
  BranchIndexed, // to targets[table + ops[0]]
  Call,          // function `target`
  CallIndirect,  // function whose address is ops[0]
  Return,
  Exit,
  Barrier,     // bar.*
  Collective,  // needs the lanes of its last operand, a member mask
  WarpBarrier, // the same, and lanes may arrive by different instructions
  Yield,       // the handler, then another warp (nanosleep)
  Wait,        // the handler, which may put the path to sleep (mbarrier.try_wait)
  Trap,
};

/// For counts.
enum class Class : uint8_t {
  Integer,
  Float,
  Half,
  Double,
  Special,
  Convert,
  Move,
  Predicate,
  Control,
  Barrier,
  Mbarrier,
  Shuffle,
  Tensor,
  MatrixMove,
  GlobalLoad,
  GlobalStore,
  SharedLoad,
  SharedStore,
  LocalAccess,
  ParamLoad,
  Atomic,
  AsyncCopy,
  Other,
};
inline constexpr int kClasses = static_cast<int>(Class::Other) + 1;
const char *toString(Class c);

struct Inst {
  Handler run = nullptr;
  const Operand *ops = nullptr; // results first, then sources
  int64_t imm = 0;              // offset of an address, and what else a handler keeps
  int64_t imm2 = 0;             // of a second address
  uint32_t target = 0, reconverge = kNever;
  uint32_t guard = kNever; // frame offset of a predicate
  uint32_t guardFlip = 0;  // all ones for @!p
  uint32_t line = 0;
  SourcePlace cuda = {};
  Flow flow = Flow::Plain;
  Class kind = Class::Other;
  Space space = Space::Generic; // of a memory access
  uint8_t results = 0, sources = 0;
  uint8_t count = 1;              // elements of a vector access, registers of a fragment
  uint8_t address = 0;            // which operand is the address, of a memory access
  uint8_t variant = 0, extra = 0; // what a handler wants
  uint32_t table = 0;             // into the function's branch tables, argument lists or names
  uint32_t flops = 0;             // of a tensor-core instruction
  static constexpr uint32_t kNever = ~uint32_t{0};
};

/// A parameter of a function, or a .param variable: each lane has its own bytes in the frame.
struct FrameVariable {
  uint32_t offset = 0; // of lane 0
  uint32_t bytes = 0;  // of one lane
  Operand reg = {};    // of a parameter in a register
  bool inRegister = false;
};

/// What a call hands over: caller's variables to callee's, and back.
struct CallSite {
  std::vector<FrameVariable> arguments, results;
};

struct Function {
  std::string name;
  std::vector<Inst> code;
  std::vector<std::vector<Operand>> operands; // one list an instruction; Inst::ops points there
  std::vector<uint32_t> branchTables;
  std::vector<CallSite> calls;
  std::vector<FrameVariable> params, results;
  uint32_t frameBytes = 0;
  int64_t localBytes = 0;
  std::vector<std::string> registerNames; // by frame offset, sorted
  std::vector<uint32_t> registerOffsets;
  enum class Intrinsic : uint8_t { None, Printf, AssertFail } intrinsic = Intrinsic::None;
};

/// An opcode of the text that the machine does not know, or an operand it cannot take.
struct Refusal {
  int line;
  std::string spelling, reason;
};

/// 64 bytes of constants: half a register of 32 bits.
struct alignas(64) ConstantLine {
  std::byte bytes[64];
};

struct KernelParam {
  std::string name;
  int64_t offset, bytes, align;
};

struct Program {
  std::string name, file;
  std::vector<std::unique_ptr<Function>> functions; // the kernel first, then what it may call
  std::unordered_map<uint64_t, int> byAddress;      // code address -> index into functions
  std::vector<ConstantLine> constants;
  std::vector<KernelParam> params;
  int64_t paramBytes = 0;
  int64_t sharedBytes = 0;   // of the variables with a size
  int64_t dynamicOffset = 0; // where the shared bytes of a launch begin
  std::vector<std::pair<std::string, int64_t>> sharedNames; // offset of each variable
  int64_t localBytes = 0;
  int64_t maxThreads[3] = {0, 0, 0}, requiredThreads[3] = {0, 0, 0}, cluster[3] = {0, 0, 0};
  std::vector<std::string> files;
  std::vector<std::string> unmodelled; // "setmaxnreg.inc (line 12)": run as if they did nothing
  std::vector<Refusal> refusals;       // empty, or the kernel may not run
};

/// For every branch, where the lanes that part there meet again (Inst::reconverge).
void findReconvergence(Function &function);

} // namespace heddle::ptx
