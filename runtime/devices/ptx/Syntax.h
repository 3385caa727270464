// A PTX module as text says it: names resolved to registers and labels, nothing decoded yet.
#pragma once

#include "runtime/Result.h"
#include "runtime/devices/ptx/Types.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace heddle::ptx {

/// A place in the CUDA source, from .file and .loc; line 0 where the text has none.
struct SourcePlace {
  int file = 0, line = 0;
};

struct OperandSyntax {
  enum class Kind {
    Register, // register, negated (predicates)
    Special,  // name: %tid.x
    Integer,  // integer
    Real,     // integer holds the bits of a float or double, by `type`
    Symbol,   // name + integer
    Label,    // index of an instruction
    Address,  // [parts[0] + integer], parts[0] Register, Symbol or Integer; more parts: coordinates
    Vector,   // {parts}
    List,     // (parts), of a call
    Sink,     // _
  };
  Kind kind = Kind::Sink;
  int reg = -1;
  bool negated = false;
  Type type = Type::None; // of a Real: F32, F64, or None for a plain decimal (double bits)
  int64_t integer = 0;
  std::string name = {};
  std::vector<OperandSyntax> parts = {};
};

struct InstructionSyntax {
  int guard = -1; // predicate register
  bool guardNegated = false;
  std::string opcode;                 // "mma"
  std::vector<std::string> modifiers; // "sync", "aligned", ...
  std::vector<OperandSyntax> operands;
  int line = 0;
  SourcePlace cuda = {};

  std::string spelling() const; ///< "mma.sync.aligned..."
};

struct VariableSyntax {
  std::string name;
  Space space = Space::Global;
  Type type = Type::B8;
  int64_t bytes = 0; // 0: of a size the launch decides (extern shared)
  int64_t align = 1;
  bool external = false;
  std::vector<std::byte> initial = {}; // empty: zero
  struct Relocation {
    int64_t offset;
    std::string symbol;
    int64_t addend;
    bool generic;
  };
  std::vector<Relocation> relocations = {};
  int reg = -1; // of a parameter held in a register
  int line = 0;
};

struct RegisterSyntax {
  Type type;
  std::string name;
};

struct FunctionSyntax {
  std::string name;
  bool entry = false, defined = false;
  std::vector<VariableSyntax> results, params;
  std::vector<RegisterSyntax> registers;
  std::vector<VariableSyntax> variables; // shared, local and param ones of the body
  std::vector<InstructionSyntax> code;
  struct Targets {
    std::string name;
    std::vector<int> labels;
  };
  std::vector<Targets> branchTargets;
  int64_t maxThreads[3] = {0, 0, 0}, requiredThreads[3] = {0, 0, 0}, cluster[3] = {0, 0, 0};
  int line = 0;
};

struct ModuleSyntax {
  std::string file; // for messages
  int versionMajor = 0, versionMinor = 0;
  std::string target; // "sm_80"
  std::vector<VariableSyntax> variables;
  std::vector<FunctionSyntax> functions;
  std::vector<std::string> files; // of .file, by number
};

/// Parses PTX 7.0 to 9.x text. `file` names it in errors. Fails with InvalidArgument, saying line
/// and column, on anything that is no PTX; opcodes are not judged here.
Result<ModuleSyntax> parseModule(std::string_view text, const std::string &file);

} // namespace heddle::ptx
