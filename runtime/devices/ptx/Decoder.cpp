// Functions, frames, shared memory and constants of a program; the walk over its instructions.
#include "runtime/devices/ptx/Decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace heddle::ptx {

namespace {

int64_t alignUp(int64_t value, int64_t align) { return (value + align - 1) / align * align; }

} // namespace

uint8_t laneBytes(Type type) {
  return type == Type::Pred ? 0 : static_cast<uint8_t>(std::max(bitsOf(type), 16) / 8);
}

uint32_t registerBytes(Type type) { return type == Type::Pred ? 4 : 32u * laneBytes(type); }

Decoder::Decoder(Module &module, Program &program) : module(module), program(program) {}

uint32_t Decoder::allocate(uint32_t bytes, uint32_t align) {
  const uint32_t at = static_cast<uint32_t>(alignUp(current->frameBytes, align));
  current->frameBytes = at + bytes;
  return at;
}

/// Predicates first, packed; then the registers; then .param variables, a copy for each lane.
void Decoder::layOutFrame(const FunctionSyntax &f) {
  registerAt.assign(f.registers.size(), 0);
  variableAt.assign(f.variables.size(), FrameVariable());
  localAt.assign(f.variables.size(), 0);
  current->frameBytes = 0;
  carryAt = allocate(4, 4);
  std::vector<std::pair<uint32_t, std::string>> names;
  for (const bool predicates : {true, false}) {
    for (size_t i = 0; i < f.registers.size(); ++i) {
      const Type type = f.registers[i].type;
      if ((type == Type::Pred) != predicates)
        continue;
      registerAt[i] = allocate(registerBytes(type), predicates ? 4 : 64);
      names.push_back({registerAt[i], f.registers[i].name});
    }
  }
  for (const auto &[offset, name] : names) {
    current->registerOffsets.push_back(offset);
    current->registerNames.push_back(name);
  }
  sinkAt = allocate(registerBytes(Type::B128), 64);
  const auto variable = [&](const VariableSyntax &v) {
    FrameVariable result;
    result.bytes = static_cast<uint32_t>(v.bytes);
    if (v.space == Space::Reg) {
      result.inRegister = true;
      result.reg = {registerAt[static_cast<size_t>(v.reg)], Operand::Frame, laneBytes(v.type)};
      result.bytes = result.reg.bytes;
    } else {
      result.offset = allocate(32 * result.bytes, 64);
    }
    return result;
  };
  for (size_t i = 0; i < f.variables.size(); ++i) {
    const VariableSyntax &v = f.variables[i];
    if (v.space == Space::Param)
      variableAt[i] = variable(v);
    if (v.space == Space::Local) {
      localAt[i] = alignUp(current->localBytes, v.align);
      current->localBytes = localAt[i] + v.bytes;
    }
  }
  if (f.entry)
    return;
  for (const VariableSyntax &v : f.params)
    current->params.push_back(variable(v));
  for (const VariableSyntax &v : f.results)
    current->results.push_back(variable(v));
}

/// The functions a kernel may run: by name, or all of them where addresses of functions are taken.
bool Decoder::reach(int function) {
  if (programIndex.contains(function))
    return true;
  const FunctionSyntax &f = module.text.functions[static_cast<size_t>(function)];
  programIndex[function] = static_cast<uint32_t>(reached.size());
  reached.push_back(function);
  const auto reachAll = [&] {
    for (size_t i = 0; i < module.text.functions.size(); ++i)
      if (module.text.functions[i].defined && !module.text.functions[i].entry)
        reach(static_cast<int>(i));
  };
  for (const InstructionSyntax &in : f.code) {
    for (const OperandSyntax &o : in.operands)
      if (o.kind == OperandSyntax::Kind::Symbol && o.reg < 0)
        if (const auto found = module.functionIndex.find(o.name);
            found != module.functionIndex.end())
          reach(found->second);
    if (in.opcode == "call" &&
        std::any_of(in.operands.begin(), in.operands.end(),
                    [](const OperandSyntax &o) { return o.kind == OperandSyntax::Kind::Register; }))
      reachAll();
  }
  return true;
}

/// Gives every shared variable that the reached functions name its place; those without a size
/// begin where the others end.
void Decoder::layOutShared() {
  std::vector<const VariableSyntax *> used;
  const auto note = [&](const VariableSyntax &v) {
    if (v.space == Space::Shared && std::find(used.begin(), used.end(), &v) == used.end())
      used.push_back(&v);
  };
  const auto noteOperand = [&](const FunctionSyntax &f, const OperandSyntax &o,
                               auto &self) -> void {
    if (o.kind == OperandSyntax::Kind::Symbol && o.reg >= 0)
      note(f.variables[static_cast<size_t>(o.reg)]);
    else if (o.kind == OperandSyntax::Kind::Symbol)
      for (const VariableSyntax &v : module.text.variables)
        if (v.name == o.name)
          note(v);
    for (const OperandSyntax &part : o.parts)
      self(f, part, self);
  };
  for (int index : reached) {
    const FunctionSyntax &f = module.text.functions[static_cast<size_t>(index)];
    for (const InstructionSyntax &in : f.code)
      for (const OperandSyntax &o : in.operands)
        noteOperand(f, o, noteOperand);
  }
  int64_t end = static_cast<int64_t>(kSharedBase), align = 16;
  for (const VariableSyntax *v : used) {
    if (v->bytes == 0) {
      align = std::max(align, v->align);
      continue;
    }
    end = alignUp(end, v->align);
    sharedAddress[v] = static_cast<uint64_t>(end);
    program.sharedNames.push_back({v->name, end - static_cast<int64_t>(kSharedBase)});
    end += v->bytes;
  }
  program.sharedBytes = end - static_cast<int64_t>(kSharedBase);
  program.dynamicOffset = alignUp(end, align);
  for (const VariableSyntax *v : used)
    if (v->bytes == 0)
      sharedAddress[v] = static_cast<uint64_t>(program.dynamicOffset);
}

Operand Decoder::constant(uint64_t value, int bytes) {
  const auto [found, added] = constantAt.try_emplace({value, bytes}, 0);
  if (added) {
    found->second = static_cast<uint32_t>(program.constants.size() * sizeof(ConstantLine));
    const int total = bytes == 0 ? 4 : 32 * bytes;
    program.constants.resize(program.constants.size() + static_cast<size_t>((total + 63) / 64));
    std::byte *to = reinterpret_cast<std::byte *>(program.constants.data()) + found->second;
    for (int l = 0; l < (bytes == 0 ? 1 : 32); ++l)
      std::memcpy(to + l * bytes, &value,
                  static_cast<size_t>(bytes == 0  ? 4
                                      : bytes > 8 ? 8
                                                  : bytes));
  }
  return {found->second, Operand::Constants, static_cast<uint8_t>(bytes)};
}

void Decoder::constantSource(uint64_t value, int bytes) { push(constant(value, bytes), false); }

void Decoder::carryResult() { push({carryAt, Operand::Frame, 0}, true); }
void Decoder::carrySource() { push({carryAt, Operand::Frame, 0}, false); }

void Decoder::decodeInstruction(const InstructionSyntax &in) {
  text = &in;
  left = in.modifiers;
  operands.clear();
  reason.clear();
  frameVariable = kernelParam = localSymbol = false;
  inst = Inst();
  inst.line = static_cast<uint32_t>(in.line);
  inst.cuda = in.cuda;
  if (in.guard >= 0) {
    inst.guard = registerAt[static_cast<size_t>(in.guard)];
    inst.guardFlip = in.guardNegated ? kAllLanes : 0;
  }
  const OpcodeDecoder decode = findOpcode(in.opcode);
  if (!decode)
    refuse("the machine does not know this opcode");
  else if (decode(*this))
    done();
  else
    refuse("the machine does not know this form"); // unless it has said why
  if (!reason.empty())
    program.refusals.push_back({in.line, in.spelling(), reason});
  current->code.push_back(inst);
  current->operands.push_back(operands);
}

bool Decoder::decodeFunction(size_t index) {
  const FunctionSyntax &f = module.text.functions[static_cast<size_t>(reached[index])];
  current = program.functions[index].get();
  currentText = &f;
  current->name = f.name;
  if (!f.defined) {
    if (f.name == "vprintf")
      current->intrinsic = Function::Intrinsic::Printf;
    else if (f.name == "__assertfail")
      current->intrinsic = Function::Intrinsic::AssertFail;
    else
      program.refusals.push_back(
          {f.line, f.name, "the function is declared, and no body of it is in this text"});
    return true;
  }
  layOutFrame(f);
  for (const InstructionSyntax &in : f.code)
    decodeInstruction(in);
  InstructionSyntax end;
  end.opcode = "ret";
  end.line = f.code.empty() ? f.line : f.code.back().line;
  decodeInstruction(end);
  current->frameBytes = static_cast<uint32_t>(alignUp(current->frameBytes, 64));
  for (size_t i = 0; i < current->code.size(); ++i)
    current->code[i].ops = current->operands[i].data();
  findReconvergence(*current);
  return true;
}

bool Decoder::run(int kernel) {
  const FunctionSyntax &f = module.text.functions[static_cast<size_t>(kernel)];
  program.name = f.name;
  program.file = module.text.file;
  program.files = module.text.files;
  std::copy_n(f.maxThreads, 3, program.maxThreads);
  std::copy_n(f.requiredThreads, 3, program.requiredThreads);
  std::copy_n(f.cluster, 3, program.cluster);
  for (const VariableSyntax &p : f.params) {
    const int64_t at = alignUp(program.paramBytes, p.align);
    program.params.push_back({p.name, at, p.bytes, p.align});
    program.paramBytes = at + p.bytes;
  }
  reach(kernel);
  layOutShared();
  for (size_t i = 0; i < reached.size(); ++i) {
    program.functions.push_back(std::make_unique<Function>());
    program.byAddress[codeAddress(reached[i])] = static_cast<int>(i);
  }
  int64_t deepest = 0;
  for (size_t i = 0; i < reached.size(); ++i) {
    decodeFunction(i);
    deepest = std::max(deepest, program.functions[i]->localBytes);
  }
  // Room for calls: the kernel's own variables, and a stack where functions are called.
  program.localBytes = alignUp(program.functions[0]->localBytes, 16);
  if (reached.size() > 1)
    program.localBytes += std::min<int64_t>(16 * (deepest + 16), 65536) + 1024;
  return true;
}

Result<std::unique_ptr<Program>> decodeKernel(Module &module, int function) {
  auto program = std::make_unique<Program>();
  Decoder(module, *program).run(function);
  return program;
}

} // namespace heddle::ptx
