// Fields `name=numbers`, separated by commas; numbers by x, colon or comma.
#include "tools/heddle/PtxTensorMap.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

namespace heddle::tool {
namespace {

Error invalid(std::string message) {
  return {ErrorCode::InvalidArgument, std::move(message), "--arg-tensormap"};
}

constexpr std::string_view kFields[] = {"dims",           "strides", "box",       "swizzle",
                                        "elementstrides", "fill",    "interleave"};

Result<std::map<std::string, std::vector<std::string>>> split(const std::string &text) {
  std::map<std::string, std::vector<std::string>> fields;
  std::string name;
  for (size_t at = 0; at < text.size();) {
    size_t end = text.find_first_of(",x:=", at);
    // The x of a number in hexadecimal, and of "box", is none of the separators.
    if (end != std::string::npos && text[end] == 'x' && text.compare(at, 3, "box") == 0)
      end = text.find_first_of(",:=", at);
    const std::string word = text.substr(at, end == std::string::npos ? end : end - at);
    at = end == std::string::npos ? text.size() : end + 1;
    if (end != std::string::npos && text[end] == '=') {
      name = word;
      if (std::find(std::begin(kFields), std::end(kFields), name) == std::end(kFields))
        return invalid(fmt::format("found field '{}', expected dims, strides, box, swizzle, "
                                   "elementstrides or fill",
                                   name));
      fields[name];
    } else if (name.empty()) {
      return invalid(fmt::format("found '{}', expected FIELD=NUMBERS", word));
    } else {
      fields[name].push_back(word);
    }
  }
  return fields;
}

Result<std::vector<uint64_t>> numbers(const std::string &name,
                                      const std::vector<std::string> &words) {
  std::vector<uint64_t> values;
  for (const std::string &word : words) {
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (error != std::errc() || end != word.data() + word.size())
      return invalid(
          fmt::format("found '{}' in {}, expected numbers such as {}=64x128", word, name, name));
    values.push_back(value);
  }
  if (values.size() > static_cast<size_t>(ptx::kTensorMapRank))
    return invalid(fmt::format("found {} numbers in {}, expected at most 5", values.size(), name));
  return values;
}

/// CUtensorMapDataType of an element type.
int mapType(std::string_view name) {
  constexpr std::pair<std::string_view, int> kTypes[] = {
      {"u8", 0},  {"i8", 0},  {"e4m3", 0}, {"e5m2", 0}, {"u16", 1}, {"i16", 1}, {"u32", 2},
      {"i32", 3}, {"u64", 4}, {"i64", 5},  {"f16", 6},  {"f32", 7}, {"f64", 8}, {"bf16", 9}};
  for (const auto &[known, type] : kTypes)
    if (known == name)
      return type;
  return -1;
}

} // namespace

Result<ptx::TensorMapImage> parseTensorMap(const std::string &text, const PtxType &type,
                                           const std::vector<int64_t> &shape,
                                           const ptx::Buffer &buffer) {
  HEDDLE_TRY(fields, split(text));
  const auto list = [&](const char *name) { return numbers(name, fields[name]); };
  HEDDLE_TRY(dims, list("dims"));
  HEDDLE_TRY(strides, list("strides"));
  HEDDLE_TRY(box, list("box"));
  HEDDLE_TRY(elementStrides, list("elementstrides"));
  if (dims.empty())
    dims.assign(shape.rbegin(), shape.rend());
  if (dims.size() > static_cast<size_t>(ptx::kTensorMapRank))
    return invalid(fmt::format("an array of rank {} needs dims= with at most 5", dims.size()));
  if (box.empty())
    box = dims;
  const size_t rank = dims.size();
  if (box.size() != rank || (!elementStrides.empty() && elementStrides.size() != rank))
    return invalid(
        fmt::format("found {} extents of the box and {} dims, expected as many", box.size(), rank));
  if (!strides.empty() && strides.size() == rank &&
      strides[0] == static_cast<uint64_t>(type.bytes)) // with that of an element
    strides.erase(strides.begin());
  if (!strides.empty() && strides.size() + 1 != rank)
    return invalid(fmt::format("found {} strides, expected {}: bytes, of dimensions 1 and up",
                               strides.size(), rank - 1));
  ptx::TensorMap map;
  map.type = static_cast<uint8_t>(mapType(type.name));
  map.rank = static_cast<uint8_t>(rank);
  map.address = buffer.address;
  uint64_t packed = static_cast<uint64_t>(type.bytes), reach = packed;
  for (size_t d = 0; d < rank; ++d) {
    map.dims[d] = dims[d];
    map.box[d] = static_cast<uint32_t>(std::min<uint64_t>(box[d], UINT32_MAX));
    map.elementStrides[d] = elementStrides.empty() ? 1 : static_cast<uint32_t>(elementStrides[d]);
    map.strides[d] = d == 0 || strides.empty() ? packed : strides[d - 1];
    reach += dims[d] == 0 ? 0 : (dims[d] - 1) * map.strides[d];
    packed *= dims[d];
  }
  const std::vector<std::string> &swizzle = fields["swizzle"];
  if (!swizzle.empty()) {
    constexpr std::pair<std::string_view, ptx::Swizzle> kNames[] = {
        {"none", ptx::Swizzle::None}, {"0", ptx::Swizzle::None},   {"32", ptx::Swizzle::B32},
        {"32B", ptx::Swizzle::B32},   {"64", ptx::Swizzle::B64},   {"64B", ptx::Swizzle::B64},
        {"128", ptx::Swizzle::B128},  {"128B", ptx::Swizzle::B128}};
    const auto *found = std::find_if(std::begin(kNames), std::end(kNames),
                                     [&](const auto &row) { return row.first == swizzle[0]; });
    if (found == std::end(kNames))
      return invalid(fmt::format("found swizzle '{}', expected none, 32, 64 or 128", swizzle[0]));
    map.swizzle = found->second;
  }
  if (!fields["interleave"].empty() && fields["interleave"][0] != "none")
    return invalid("only interleave=none is supported");
  if (!fields["fill"].empty()) {
    if (fields["fill"][0] != "zero" && fields["fill"][0] != "nan")
      return invalid(fmt::format("found fill '{}', expected zero or nan", fields["fill"][0]));
    map.fill = fields["fill"][0] == "nan" ? ptx::TensorMap::Fill::NaN : ptx::TensorMap::Fill::Zero;
  }
  if (reach > buffer.bytes)
    return invalid(fmt::format("the tensor reaches over {} bytes, and the file holds {}", reach,
                               buffer.bytes));
  return ptx::encodeTensorMap(map);
}

} // namespace heddle::tool
