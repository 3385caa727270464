#include "compiler/Compiler.h"

namespace heddle::compiler {
std::vector<std::string> stations() {
  return {"pattern", "form", "tile", "layouts", "vector", "llvm", "asm"};
}
} // namespace heddle::compiler
