// .npy: magic "\x93NUMPY", version, header length, a Python dict literal, then the elements.
// .safetensors: header length (u64), a JSON object name -> {dtype, shape, data_offsets}, then the
// bytes.
#include "tools/heddle/TensorFile.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>
#include <tuple>

namespace heddle::tool {
namespace {

Error corrupt(std::string message) { return {ErrorCode::CorruptData, std::move(message)}; }

//===------------------------------------------------------------------------------------------===//
// .npy
//===------------------------------------------------------------------------------------------===//

constexpr std::string_view kNpyMagic = "\x93NUMPY";

struct NpyType {
  std::string_view descr;
  DType dtype;
};
constexpr NpyType kNpyTypes[] = {{"<f8", DType::F64}, {"<f4", DType::F32}, {"<f2", DType::F16},
                                 {"<i8", DType::I64}, {"<i4", DType::I32}, {"|i1", DType::I8},
                                 {"|u1", DType::U8}};

/// The text of `key`'s value inside the header's dict literal, up to `end`.
std::optional<std::string_view> npyField(std::string_view header, std::string_view key) {
  size_t at = header.find(fmt::format("'{}'", key));
  if (at == std::string_view::npos)
    return std::nullopt;
  at = header.find(':', at);
  if (at == std::string_view::npos)
    return std::nullopt;
  at = header.find_first_not_of(' ', at + 1);
  return at == std::string_view::npos ? std::nullopt : std::optional(header.substr(at));
}

std::optional<std::vector<int64_t>> npyShape(std::string_view text) {
  size_t close = text.find(')');
  if (text.empty() || text[0] != '(' || close == std::string_view::npos)
    return std::nullopt;
  std::vector<int64_t> shape;
  const char *at = text.data() + 1, *end = text.data() + close;
  while (at < end) {
    if (*at == ' ' || *at == ',') {
      ++at;
      continue;
    }
    int64_t extent = 0;
    auto [next, error] = std::from_chars(at, end, extent);
    if (error != std::errc() || extent < 0)
      return std::nullopt;
    shape.push_back(extent);
    at = next;
  }
  return shape;
}

/// The row-major order of column-major elements of `size` bytes.
std::string fromFortran(std::string_view source, const std::vector<int64_t> &shape, int64_t size) {
  std::string result(source.size(), '\0');
  std::vector<int64_t> index(shape.size(), 0);
  for (int64_t n = 0, total = static_cast<int64_t>(source.size()) / size; n < total; ++n) {
    int64_t offset = 0;
    for (size_t d = 0; d < shape.size(); ++d)
      offset = offset * shape[d] + index[d];
    std::memcpy(result.data() + offset * size, source.data() + n * size, size);
    for (size_t d = 0; d < shape.size() && ++index[d] == shape[d]; ++d)
      index[d] = 0;
  }
  return result;
}

Result<DType> npyType(std::string_view descr) {
  for (const NpyType &type : kNpyTypes)
    if (descr == type.descr)
      return type.dtype;
  return Error{
      ErrorCode::Unsupported,
      fmt::format("found element type '{}', expected one of <f8 <f4 <f2 <i8 <i4 |i1 |u1", descr)};
}

/// "'<f4', ..." -> "<f4", with the bytes of an element; 0 for what has no fixed size here.
std::pair<std::string, int64_t> npyItem(std::string_view field) {
  const size_t close = field.find('\'', 1);
  if (field.empty() || field[0] != '\'' || close == std::string_view::npos)
    return {std::string(field.substr(0, std::min<size_t>(field.find(", '"), 24))), 0};
  const std::string descr(field.substr(1, close - 1));
  int64_t bytes = 0;
  if (descr.size() < 3 || descr[0] == '>' || !std::strchr("fiubcV", descr[1]) ||
      std::from_chars(descr.data() + 2, descr.data() + descr.size(), bytes).ptr !=
          descr.data() + descr.size() ||
      bytes < 0 || bytes > 64)
    bytes = 0;
  return {descr, bytes};
}

/// Bytes the elements need, or none where the product overflows.
std::optional<int64_t> bytesOf(const std::vector<int64_t> &shape, int64_t bytes) {
  for (int64_t extent : shape)
    if (__builtin_mul_overflow(bytes, extent, &bytes))
      return std::nullopt;
  return bytes;
}

//===------------------------------------------------------------------------------------------===//
// .safetensors
//===------------------------------------------------------------------------------------------===//

struct SafeType {
  std::string_view name;
  DType dtype;
};
constexpr SafeType kSafeTypes[] = {{"F64", DType::F64},        {"F32", DType::F32},
                                   {"BF16", DType::BF16},      {"F16", DType::F16},
                                   {"F8_E4M3", DType::F8E4M3}, {"F8_E5M2", DType::F8E5M2},
                                   {"I64", DType::I64},        {"I32", DType::I32},
                                   {"I8", DType::I8},          {"U8", DType::U8}};

Result<DType> safeType(const std::string &name) {
  for (const SafeType &type : kSafeTypes)
    if (type.name == name)
      return type.dtype;
  return Error{ErrorCode::Unsupported,
               fmt::format("found element type '{}', expected one of F64 F32 BF16 F16 F8_E4M3 "
                           "F8_E5M2 I64 I32 I8 U8",
                           name)};
}

/// The entry to read: the one named, or the only one.
Result<std::string> chooseEntry(const nlohmann::json &header, const std::string &name) {
  std::vector<std::string> names;
  for (const auto &[key, value] : header.items())
    if (key != "__metadata__")
      names.push_back(key);
  if (!name.empty()) {
    if (header.contains(name) && name != "__metadata__")
      return name;
    Error error{ErrorCode::NotFound, fmt::format("found no tensor '{}' in the file", name)};
    for (const std::string &known : names)
      error.notes.push_back("it holds " + known);
    return error;
  }
  if (names.size() == 1)
    return names[0];
  Error error{
      ErrorCode::InvalidArgument,
      fmt::format("found {} tensors in the file, expected a name: FILE:NAME", names.size())};
  for (const std::string &known : names)
    error.notes.push_back("it holds " + known);
  return error;
}

//===------------------------------------------------------------------------------------------===//
// Files
//===------------------------------------------------------------------------------------------===//

Status writeFile(const std::string &path, std::string_view header, std::string_view data) {
  std::string beside = path + ".partial";
  std::ofstream file(beside, std::ios::binary);
  file.write(header.data(), static_cast<std::streamsize>(header.size()));
  file.write(data.data(), static_cast<std::streamsize>(data.size()));
  file.close();
  if (!file || std::rename(beside.c_str(), path.c_str()) != 0) {
    Error error{ErrorCode::IoError,
                fmt::format("cannot write '{}': {}", path, std::strerror(errno))};
    std::remove(beside.c_str());
    return error;
  }
  return {};
}

std::string npyHeader(std::string_view descr, const std::vector<int64_t> &extents) {
  std::string shape;
  for (int64_t extent : extents)
    shape += fmt::format("{}, ", extent);
  std::string dict =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", descr, shape);
  size_t total = (kNpyMagic.size() + 4 + dict.size() + 1 + 63) / 64 * 64;
  dict.append(total - kNpyMagic.size() - 4 - dict.size() - 1, ' ');
  dict += '\n';
  std::string header(kNpyMagic);
  header +=
      {'\x01', '\x00', static_cast<char>(dict.size() & 0xff), static_cast<char>(dict.size() >> 8)};
  return header + dict;
}

std::string safetensorsHeader(const HostTensor &tensor, const std::string &name) {
  std::string_view dtype;
  for (const SafeType &type : kSafeTypes)
    if (type.dtype == tensor.dtype())
      dtype = type.name;
  nlohmann::json json = {
      {name, {{"dtype", dtype}, {"shape", tensor.shape()}, {"data_offsets", {0, tensor.bytes()}}}}};
  if (!tensor.madeBy.empty())
    json["__metadata__"] = {{"heddle", tensor.madeBy}};
  std::string text = json.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  uint64_t length = text.size();
  std::string header(reinterpret_cast<const char *>(&length), sizeof length);
  return header + text;
}

bool endsWith(std::string_view text, std::string_view ending) { return text.ends_with(ending); }

} // namespace

Result<std::string> readFile(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  if (!file)
    return Error{ErrorCode::NotFound,
                 fmt::format("cannot open '{}': {}", path, std::strerror(errno))};
  std::ostringstream text;
  text << file.rdbuf();
  if (file.bad())
    return Error{ErrorCode::IoError, fmt::format("cannot read '{}'", path)};
  return std::move(text).str();
}

Result<NpyArray> parseNpyArray(std::string_view bytes) {
  if (!bytes.starts_with(kNpyMagic))
    return corrupt("found no NumPy magic at the start, expected a .npy file");
  if (bytes.size() < 12)
    return corrupt(fmt::format("the .npy header is cut short after {} bytes", bytes.size()));
  bool longHeader = bytes[6] >= 2;
  uint32_t length = 0;
  std::memcpy(&length, bytes.data() + 8, longHeader ? 4 : 2);
  size_t start = longHeader ? 12 : 10;
  if (length > bytes.size() - start)
    return corrupt(fmt::format("the .npy header says {} bytes, the file has {} left", length,
                               bytes.size() - start));
  std::string_view header = bytes.substr(start, length), data = bytes.substr(start + length);

  auto descr = npyField(header, "descr"), order = npyField(header, "fortran_order");
  auto shapeField = npyField(header, "shape");
  if (!descr || !order || !shapeField)
    return corrupt("the .npy header lacks descr, fortran_order or shape");
  auto shape = npyShape(*shapeField);
  if (!shape)
    return corrupt("the .npy header's shape is no list of sizes");
  NpyArray array;
  std::tie(array.descr, array.itemBytes) = npyItem(*descr);
  if (array.itemBytes == 0)
    return Error{ErrorCode::Unsupported,
                 fmt::format("found element type '{}', expected little-endian numbers such as <f4",
                             array.descr)};
  auto needed = bytesOf(*shape, array.itemBytes);
  if (!needed || static_cast<uint64_t>(*needed) > data.size())
    return corrupt(fmt::format(
        "found {} bytes of elements, expected {} for shape {} of {}: the file is "
        "cut short",
        data.size(), needed ? fmt::to_string(*needed) : "more", shapeText(*shape), array.descr));
  data = data.substr(0, static_cast<size_t>(*needed));
  array.data =
      order->starts_with("True") ? fromFortran(data, *shape, array.itemBytes) : std::string(data);
  array.shape = std::move(*shape);
  return array;
}

Result<HostTensor> parseNpy(std::string_view bytes) {
  HEDDLE_TRY(array, parseNpyArray(bytes));
  HEDDLE_TRY(dtype, npyType(array.descr));
  HEDDLE_TRY(tensor, HostTensor::allocate(dtype, array.shape));
  std::memcpy(tensor.data(), array.data.data(), array.data.size());
  return tensor;
}

Result<HostTensor> parseSafetensors(std::string_view bytes, const std::string &name) {
  if (bytes.size() < 8)
    return corrupt(fmt::format("found {} bytes, expected a .safetensors file", bytes.size()));
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  if (length > bytes.size() - 8)
    return corrupt(fmt::format("the .safetensors header says {} bytes, the file has {} left",
                               length, bytes.size() - 8));
  auto header = nlohmann::json::parse(bytes.substr(8, length), nullptr, /*allow_exceptions=*/false);
  if (!header.is_object())
    return corrupt("the .safetensors header is no JSON object");
  HEDDLE_TRY(chosen, chooseEntry(header, name));
  const nlohmann::json &entry = header[chosen];
  if (!entry.is_object() || !entry.contains("dtype") || !entry["dtype"].is_string() ||
      !entry.contains("shape") || !entry["shape"].is_array() || !entry.contains("data_offsets") ||
      !entry["data_offsets"].is_array() || entry["data_offsets"].size() != 2)
    return corrupt(fmt::format("tensor '{}' lacks dtype, shape or data_offsets", chosen));
  HEDDLE_TRY(dtype, safeType(entry["dtype"].get<std::string>()));
  std::vector<int64_t> shape;
  for (const nlohmann::json &extent : entry["shape"]) {
    if (!extent.is_number_unsigned() || extent.get<uint64_t>() > (uint64_t{1} << 46))
      return corrupt(fmt::format("tensor '{}' has a size that is no number", chosen));
    shape.push_back(extent.get<int64_t>());
  }
  const nlohmann::json &offsets = entry["data_offsets"];
  std::string_view data = bytes.substr(8 + length);
  if (!offsets[0].is_number_unsigned() || !offsets[1].is_number_unsigned())
    return corrupt(fmt::format("tensor '{}' has offsets that are no numbers", chosen));
  uint64_t first = offsets[0].get<uint64_t>(), last = offsets[1].get<uint64_t>();
  auto needed = bytesOf(shape, sizeOf(dtype));
  if (first > last || last > data.size() || !needed ||
      static_cast<uint64_t>(*needed) != last - first)
    return corrupt(
        fmt::format("tensor '{}' of shape {} and type {} does not fit its bytes {}..{} of {}: "
                    "the file is cut short or damaged",
                    chosen, shapeText(shape), toString(dtype), first, last, data.size()));
  HEDDLE_TRY(tensor, HostTensor::allocate(dtype, shape));
  std::memcpy(tensor.data(), data.data() + first, *needed);
  if (header.contains("__metadata__") && header["__metadata__"].is_object())
    if (const auto &made = header["__metadata__"]; made.contains("heddle"))
      tensor.madeBy = made["heddle"].is_string() ? made["heddle"].get<std::string>() : "";
  return tensor;
}

Result<HostTensor> readTensor(const std::string &path) {
  std::string file = path, name;
  size_t split = path.find(".safetensors:");
  if (split != std::string::npos) {
    file = path.substr(0, split + 12);
    name = path.substr(split + 13);
  }
  bool npy = endsWith(file, ".npy");
  if (!npy && !endsWith(file, ".safetensors"))
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("found '{}', expected a file ending in .npy or .safetensors", file)};
  HEDDLE_TRY(bytes, readFile(file));
  Result<HostTensor> tensor = npy ? parseNpy(bytes) : parseSafetensors(bytes, name);
  if (tensor.ok())
    return tensor;
  Error error = tensor.error();
  error.where = file;
  return error;
}

Status writeTensor(const std::string &path, const HostTensor &tensor, const std::string &name) {
  const auto data = [](const HostTensor &t) {
    return std::string_view(static_cast<const char *>(t.data()), static_cast<size_t>(t.bytes()));
  };
  if (endsWith(path, ".safetensors"))
    return writeFile(path, safetensorsHeader(tensor, name), data(tensor));
  if (!endsWith(path, ".npy"))
    return Error{ErrorCode::InvalidArgument,
                 fmt::format("found '{}', expected a name ending in .npy or .safetensors", path)};
  for (const NpyType &type : kNpyTypes)
    if (type.dtype == tensor.dtype())
      return writeFile(path, npyHeader(type.descr, tensor.shape()), data(tensor));
  HEDDLE_TRY(wide, tensor.convertedTo(DType::F32));
  return writeFile(path, npyHeader("<f4", wide.shape()), data(wide));
}

Result<NpyArray> readNpyArray(const std::string &path) {
  HEDDLE_TRY(bytes, readFile(path));
  Result<NpyArray> array = parseNpyArray(bytes);
  if (array.ok())
    return array;
  Error error = array.error();
  error.where = path;
  return error;
}

Status writeNpyArray(const std::string &path, const NpyArray &array) {
  return writeFile(path, npyHeader(array.descr, array.shape), array.data);
}

} // namespace heddle::tool
