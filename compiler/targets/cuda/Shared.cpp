// Address expressions of rows in shared memory. The swizzle xors bits of the chunk with bits of the
// row, so a step along a row whose bits the swizzle touches is an xor, and the rest is added.
#include "compiler/targets/cuda/Shared.h"

#include "llvm/Support/MathExtras.h"

#include <fmt/format.h>

namespace heddle::compiler::cuda {

SharedRows::SharedRows(tile::TileType type) : rows(type.getRank() < 2 ? 1 : type.getDim(0)) {
  if (type.getRank() < 2) { // elements side by side
    pitch = chunks = 0;
    return;
  }
  layout::SwizzledLayout layout = mlir::cast<tile::MemAttr>(type.getLayout()).getLayout();
  int64_t bytes = type.getElementType().getIntOrFloatBitWidth() / 8;
  int64_t elements = layout.layout.mode(0).leaves()[0].stride;
  if (rows == 1)
    elements = type.getDim(1);
  pitch = elements * bytes;
  chunks = type.getDim(1) * bytes / 16;
  const auto columns = layout.layout.mode(1).leaves();
  if (columns.size() > 1) {
    panel = columns[0].extent * bytes / 16;
    panelBytes = columns[1].stride * bytes;
  }
  if (layout.swizzle.bits() == 0)
    return;
  mask = (int64_t(1) << layout.swizzle.bits()) - 1;
  shift = layout.swizzle.base() + layout.swizzle.shift() - llvm::Log2_64(elements);
}

std::string sharedBase(int64_t offset) {
  return offset == 0 ? "smem" : fmt::format("smem + {}", offset);
}

std::string SharedRows::address(const std::string &rowText, const std::string &chunk) const {
  const bool isName = rowText.find_first_of(" *+%/^()") == std::string::npos;
  const std::string row = isName ? rowText : fmt::format("({})", rowText);
  std::string at = fmt::format("{} * {}", row, pitch);
  if (panel == 1)
    return chunk == "0" ? at : fmt::format("{} + ({}) * {}", at, chunk, panelBytes);
  if (panel > 1 && chunk != "0")
    return fmt::format("{0} + ({1}) / {2} * {3} + (({1}) % {2} ^ {4} / {5} % {2}) * 16", at, chunk,
                       panel, panelBytes, row, 1 << shift);
  if (mask == 0)
    return chunk == "0" ? at : fmt::format("{} + ({}) * 16", at, chunk);
  std::string bits = shift == 0 ? fmt::format("{} % {}", row, mask + 1)
                                : fmt::format("{} / {} % {}", row, 1 << shift, mask + 1);
  return chunk == "0" ? fmt::format("{} + {} * 16", at, bits)
                      : fmt::format("{} + ({} ^ {}) * 16", at, chunk, bits);
}

std::string SharedRows::step(const std::string &at, const std::string &row, int64_t rowFactor,
                             const std::string &chunk, int64_t chunkFactor) const {
  std::string text = at;
  int64_t bytes = 16 * chunkFactor;
  if (chunk == "0") {
  } else if (panel > 0 && panel <= chunkFactor) {
    text += fmt::format(" + {} * {}", chunk, chunkFactor / panel * panelBytes);
  } else if (panel > 0) {
    int64_t period = panel / chunkFactor;
    text = fmt::format("({} ^ {} % {} * {}) + {} / {} * {}", at, chunk, period, bytes, chunk,
                       period, panelBytes);
  } else if (mask == 0) {
    text += fmt::format(" + {} * {}", chunk, bytes);
  } else if (mask < chunkFactor) {
    text += fmt::format(" + {} * {}", chunk, bytes);
  } else if (chunks * 16 <= (mask + 1) * 16) {
    text = fmt::format("({} ^ {} * {})", at, chunk, bytes);
  } else {
    int64_t period = (mask + 1) / chunkFactor;
    text = fmt::format("({} ^ {} % {} * {}) + {} / {} * {}", at, chunk, period, bytes, chunk,
                       period, (mask + 1) * 16);
  }
  if (row != "0")
    text += fmt::format(" + {} * {}", row, rowFactor * pitch);
  return text;
}

} // namespace heddle::compiler::cuda
