// Turns the text of a kernel, and of the functions it may call, into a Program.
#pragma once

#include "runtime/devices/ptx/Machine.h"
#include "runtime/devices/ptx/Special.h"

#include <map>
#include <set>
#include <span>

namespace heddle::ptx {

/// Decodes kernel number `function` of the module's text. What the machine does not know stands in
/// Program::refusals.
Result<std::unique_ptr<Program>> decodeKernel(Module &module, int function);

enum class Rounding : uint8_t { None, Nearest, Zero, Down, Up, Away };

/// Handed to the decoder of an opcode: takes modifiers off the spelling and operands off the list,
/// and fills `inst`. Functions that return bool return false after refuse().
class Decoder {
public:
  Decoder(Module &module, Program &program);
  bool run(int kernel);

  // The instruction in progress.
  Inst inst;
  const InstructionSyntax &syntax() const { return *text; }
  bool refuse(std::string reason);
  void noteUnmodelled(); ///< the instruction has an effect that the machine does not model

  /// Removes a modifier; true if it was there.
  bool take(std::string_view modifier);
  bool has(std::string_view modifier) const; ///< whether it is there
  Type peekType() const;                     ///< the first type, left there
  /// Removes and returns the first modifier that begins with `prefix`, or "".
  std::string takePrefix(std::string_view prefix);
  /// Removes and returns the first modifier that names a type.
  Type takeType();
  Rounding takeRounding(bool integral = false);
  Space takeSpace();
  /// Which of the given modifiers is there (-1: none); removes it.
  int takeOneOf(std::initializer_list<std::string_view> names);
  bool done(); ///< refuses what is left of the modifiers

  // Operands. Results come before sources, in the order of Inst::ops.
  size_t operandCount() const { return text->operands.size(); }
  const OperandSyntax &operand(size_t i) const { return text->operands[i]; }
  bool expectOperands(size_t least, size_t most);
  bool result(const OperandSyntax &o, Type type, bool wider = false);
  bool source(const OperandSyntax &o, Type type, bool wider = false);
  bool result(size_t i, Type type, bool wider = false) { return result(operand(i), type, wider); }
  bool source(size_t i, Type type, bool wider = false) { return source(operand(i), type, wider); }
  /// {a, b, c} or a single operand: as many results or sources as it has.
  bool results(size_t i, Type type, size_t count, bool wider = false);
  bool sources(size_t i, Type type, size_t count, bool wider = false);
  void constantSource(uint64_t value, int bytes);
  uint8_t operandBytes(size_t i) const { return operands[i].bytes; } ///< of one added already
  /// [base + offset]: adds the base as a source, sets imm, address and space. A .param variable of
  /// this function sets frameVariable instead of an address.
  bool address(size_t i, Space space);
  bool frameVariable = false; // the address is in the frame, lane by lane
  bool kernelParam = false;   // it is an offset (imm) into the kernel's parameters
  bool localSymbol = false;   // the source just added is the address of a local variable
  int64_t localOffset = 0;
  void carryResult(); // the flag of add.cc and the like
  void carrySource();

  bool isPredicate(const OperandSyntax &o) const;

  // For control flow.
  bool branchTable(const OperandSyntax &o);
  bool callSite(const OperandSyntax *results, const OperandSyntax *arguments);
  bool functionIndex(const std::string &name, uint32_t &index);
  Function &function() { return *current; }
  int64_t paramBytes() const { return program.paramBytes; }
  const std::string &target() const { return module.text.target; }

private:
  bool reach(int function);
  void layOutShared();
  bool decodeFunction(size_t index);
  void decodeInstruction(const InstructionSyntax &in);
  bool push(Operand o, bool isResult);
  Operand constant(uint64_t value, int bytes);
  bool symbolAddress(const OperandSyntax &o, uint64_t &value, bool &local);
  bool frameVariableOf(const OperandSyntax &o, FrameVariable &variable);
  bool immediate(const OperandSyntax &o, Type type, uint64_t &value);
  uint32_t allocate(uint32_t bytes, uint32_t align);
  void layOutFrame(const FunctionSyntax &f);

  Module &module;
  Program &program;
  Function *current = nullptr;
  const FunctionSyntax *currentText = nullptr;
  const InstructionSyntax *text = nullptr;
  std::vector<std::string> left; // modifiers not taken yet
  std::vector<Operand> operands;
  std::string reason;
  std::vector<int> reached; // module function of each program function
  std::map<int, uint32_t> programIndex;
  std::map<const VariableSyntax *, uint64_t> sharedAddress;
  std::map<std::pair<uint64_t, int>, uint32_t> constantAt;
  std::vector<uint32_t> registerAt;      // frame offset of each register
  std::vector<FrameVariable> variableAt; // of the function's .param variables
  std::vector<int64_t> localAt;          // of its .local variables
  uint32_t sinkAt = 0, carryAt = 0;
};

/// Frame bytes of one register, 32 lanes.
uint32_t registerBytes(Type type);
/// Bytes of a lane's value in a register of this type; 0 for predicates.
uint8_t laneBytes(Type type);

using OpcodeDecoder = bool (*)(Decoder &);
struct Opcode {
  const char *name;
  OpcodeDecoder decode;
};

// Opcodes that integers and floats share: what floats do not take.
bool decodeIntegerAdd(Decoder &d);
bool decodeIntegerSub(Decoder &d);
bool decodeIntegerMul(Decoder &d);
bool decodeIntegerMad(Decoder &d);
bool decodeIntegerDiv(Decoder &d);
bool decodeIntegerMin(Decoder &d);
bool decodeIntegerMax(Decoder &d);
bool decodeIntegerAbs(Decoder &d);
bool decodeIntegerNeg(Decoder &d);

// Forms of `cp` in files of their own.
bool decodeBulk(Decoder &d, bool reduces);
bool decodeCopyArrive(Decoder &d);
bool decodeClusterBarrier(Decoder &d);

// The families, in ops/: each lists its opcodes.
std::span<const Opcode> integerOpcodes();
std::span<const Opcode> bitOpcodes();
std::span<const Opcode> floatOpcodes();
std::span<const Opcode> approximateOpcodes();
std::span<const Opcode> compareOpcodes();
std::span<const Opcode> convertOpcodes();
std::span<const Opcode> moveOpcodes();
std::span<const Opcode> memoryOpcodes();
std::span<const Opcode> atomicOpcodes();
std::span<const Opcode> controlOpcodes();
std::span<const Opcode> warpOpcodes();
std::span<const Opcode> matrixOpcodes();
std::span<const Opcode> matrixMoveOpcodes();
std::span<const Opcode> asyncOpcodes();
std::span<const Opcode> mbarrierOpcodes();
std::span<const Opcode> clusterOpcodes();
std::span<const Opcode> wgmmaOpcodes();
std::span<const Opcode> tensorMapOpcodes();
/// The decoder of an opcode, or null.
OpcodeDecoder findOpcode(const std::string &name);

} // namespace heddle::ptx
