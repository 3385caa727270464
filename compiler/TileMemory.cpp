// Windows of tensors and buffers: row r of a view to an element number, through a page table, a
// list or a ring where the view has one, with checks of bounds and of disjoint writes.
//   paged<16>, r = 37  ->  slot 5 of page table[2]          list<64>, r = 70  ->  row idx[1] * 64 +
//   6
#include "compiler/TileMemory.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace heddle::compiler {

HostArray::HostArray(std::string name, TensorView view, bool writable)
    : arrayName(std::move(name)), arrayExtents(view.shape.begin(), view.shape.begin() + view.rank),
      tensor(view), isTensor(true), writable(writable) {}

HostArray::HostArray(std::string name, Extents extents, bool isInteger)
    : arrayName(std::move(name)), arrayExtents(std::move(extents)),
      buffer(elementCount(arrayExtents), isInteger ? kUnspecifiedInteger : kUnspecifiedReal),
      isTensor(false), writable(true) {}

int64_t HostArray::addressOf(int64_t element) const {
  int64_t address = 0;
  for (int64_t d = static_cast<int64_t>(arrayExtents.size()) - 1; d >= 0; --d) {
    address += element % arrayExtents[d] * tensor.strides[d];
    element /= arrayExtents[d];
  }
  return address;
}

Result<double> HostArray::read(int64_t element, int64_t gridPoint) const {
  auto writer = writers.find(element);
  if (writer != writers.end() && writer->second != gridPoint)
    return Error{
        ErrorCode::CheckFailed,
        fmt::format("grid point {} reads element {} of '{}', which grid point {} of the same "
                    "launch wrote; split the launch",
                    gridPoint, element, arrayName, writer->second)};
  return isTensor ? loadElement(tensor.dtype, tensor.data, addressOf(element)) : buffer[element];
}

Status HostArray::write(int64_t element, double value, int64_t gridPoint) {
  if (!writable)
    return Error{ErrorCode::CheckFailed, fmt::format("store to the input '{}'", arrayName)};
  auto [writer, fresh] = writers.try_emplace(element, gridPoint);
  if (!fresh && writer->second != gridPoint)
    return Error{ErrorCode::CheckFailed,
                 fmt::format("grid points {} and {} both write element {} of '{}'", writer->second,
                             gridPoint, element, arrayName)};
  if (isTensor)
    storeElement(tensor.dtype, tensor.data, addressOf(element), value);
  else
    buffer[element] = value;
  return {};
}

int64_t HostView::rows() const {
  if (access == Paged || access == List)
    return table->extents[0] * block;
  return extents.empty() ? 1 : extents[0];
}

Result<std::optional<int64_t>> HostView::locate(const Extents &coordinate,
                                                int64_t gridPoint) const {
  auto outside = [&] {
    return Error{
        ErrorCode::CheckFailed,
        fmt::format("element ({}) lies outside a view of '{}' with {} rows and extents ({})",
                    fmt::join(coordinate, ", "), array->name(), rows(), fmt::join(extents, ", "))};
  };
  Extents place = coordinate;
  if (access != Dense) {
    int64_t row = place[0];
    if (row < 0 || (access != Wrap && row >= rows()))
      return outside();
    if (access == Wrap) {
      if (extents[0] == 0)
        return outside();
      place[0] = row % extents[0];
    } else {
      HEDDLE_TRY(at, table->locate({row / block}, gridPoint));
      HEDDLE_TRY(entry, table->array->read(*at, gridPoint));
      int64_t number = static_cast<int64_t>(entry);
      if (number < 0)
        return std::optional<int64_t>();
      if (access == List) {
        place[0] = number * block + row % block;
        if (place[0] >= extents[0])
          return std::optional<int64_t>();
      } else {
        place[0] = row % block;
        place.insert(place.begin(), number);
      }
    }
  }
  int64_t element = first;
  for (size_t d = 0; d < place.size(); ++d) {
    if (place[d] < 0 || place[d] >= extents[d])
      return outside();
    element += place[d] * strides[d];
  }
  return std::optional(element);
}

} // namespace heddle::compiler
