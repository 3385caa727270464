// The table of all opcodes, made of the families' lists.
#include "runtime/devices/ptx/Decoder.h"

namespace heddle::ptx {

OpcodeDecoder findOpcode(const std::string &name) {
  constexpr std::span<const Opcode> (*kFamilies[])() = {
      integerOpcodes, bitOpcodes,    floatOpcodes,      approximateOpcodes, compareOpcodes,
      convertOpcodes, moveOpcodes,   memoryOpcodes,     atomicOpcodes,      controlOpcodes,
      warpOpcodes,    matrixOpcodes, matrixMoveOpcodes, asyncOpcodes,       mbarrierOpcodes,
      clusterOpcodes, wgmmaOpcodes,  tensorMapOpcodes};
  for (const auto family : kFamilies)
    for (const Opcode &row : family())
      if (name == row.name)
        return row.decode;
  return nullptr;
}

const char *toString(Class c) {
  constexpr const char *kNames[] = {
      "integer",      "float",       "half",        "double",       "special",     "convert",
      "move",         "predicate",   "control",     "barrier",      "mbarrier",    "shuffle",
      "tensor",       "matrix move", "global load", "global store", "shared load", "shared store",
      "local access", "param load",  "atomic",      "async copy",   "other"};
  return kNames[static_cast<int>(c)];
}

} // namespace heddle::ptx
