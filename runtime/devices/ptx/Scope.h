// Names inside a function body: registers, variables and labels, by nested braces.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace heddle::ptx {

/// One pair of braces. Inline assembly opens its own, so a name may mean different things in one
/// function; labels are looked up outwards, once the scope that may declare them is closed.
struct Scope {
  struct Range {
    int first, count; // count -1: a single register
  };
  struct LabelUse {
    std::string name;
    int instruction, operand; // operand -1: of branch targets number `instruction`
    int part;
    int line, column;
  };
  std::unordered_map<std::string, Range> registers; // "%r" of "%r<8>", or a whole name
  std::unordered_map<std::string, int> variables;
  std::unordered_map<std::string, int> labels;
  std::vector<LabelUse> uses;
};

/// Register `name` in the innermost scope that declares it, or -1.
int findRegister(const std::vector<Scope> &scopes, std::string_view name);
int findVariable(const std::vector<Scope> &scopes, std::string_view name);

} // namespace heddle::ptx
