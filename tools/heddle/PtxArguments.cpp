// Reads arguments: numbers become bytes, files become buffers of the machine, rounded to the type
// that the kernel reads; buffers go back to files.
//   q.npy:bf16   float32 numbers, each rounded to bf16          c.npy:f32   bits as they are
#include "tools/heddle/PtxArguments.h"

#include "runtime/DType.h"
#include "tools/heddle/PtxTensorMap.h"
#include "tools/heddle/TensorFile.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>

namespace heddle::tool {
namespace {

constexpr PtxType kTypes[] = {
    {"f32", 4, 'f', "<f4"}, {"f16", 2, 'f', "<f2"},  {"bf16", 2, 'f', "<f4"},
    {"f64", 8, 'f', "<f8"}, {"e4m3", 1, 'f', "<f4"}, {"e5m2", 1, 'f', "<f4"},
    {"i8", 1, 'i', "|i1"},  {"u8", 1, 'u', "|u1"},   {"i16", 2, 'i', "<i2"},
    {"u16", 2, 'u', "<u2"}, {"i32", 4, 'i', "<i4"},  {"u32", 4, 'u', "<u4"},
    {"i64", 8, 'i', "<i8"}, {"u64", 8, 'u', "<u8"},
};

Error invalid(std::string message, std::string what) {
  return {ErrorCode::InvalidArgument, std::move(message), std::move(what)};
}

std::string typeNames() {
  std::string names;
  for (const PtxType &type : kTypes)
    names += (names.empty() ? "" : " ") + std::string(type.name);
  return names;
}

/// The number format of a type that has one.
DType numberOf(const PtxType &type) {
  return type.name == "bf16"   ? DType::BF16
         : type.name == "f16"  ? DType::F16
         : type.name == "f64"  ? DType::F64
         : type.name == "e4m3" ? DType::F8E4M3
         : type.name == "e5m2" ? DType::F8E5M2
                               : DType::F32;
}

/// Element n of an array of floats or integers.
double numberAt(const NpyArray &array, int64_t n) {
  const char *at = array.data.data() + n * array.itemBytes;
  if (array.descr[1] == 'f')
    return loadElement(array.itemBytes == 8   ? DType::F64
                       : array.itemBytes == 4 ? DType::F32
                                              : DType::F16,
                       at, 0);
  uint64_t bits = 0;
  std::memcpy(&bits, at, static_cast<size_t>(array.itemBytes));
  if (array.descr[1] != 'i')
    return static_cast<double>(bits);
  const int shift = 64 - 8 * static_cast<int>(array.itemBytes);
  return static_cast<double>(static_cast<int64_t>(bits << shift) >> shift);
}

/// The elements of an array as the kernel is to find them.
Result<std::string> elementsAs(const PtxType &type, const NpyArray &array,
                               const std::string &text) {
  const char kind = array.descr[1];
  const bool floats = kind == 'f' && array.itemBytes <= 8,
             integers = strchr("iub", kind) != nullptr;
  // The same type, or integers or bits of the same width: as they lie.
  if (array.itemBytes == type.bytes && (array.descr == type.npy || type.kind != 'f' || kind != 'f'))
    return array.data;
  const int64_t count = static_cast<int64_t>(array.data.size()) / array.itemBytes;
  std::string out(static_cast<size_t>(count * type.bytes), '\0');
  if (type.kind == 'f' && (floats || integers)) {
    for (int64_t n = 0; n < count; ++n)
      storeElement(numberOf(type), out.data(), n, numberAt(array, n));
    return out;
  }
  if (!integers || type.kind == 'f')
    return invalid(fmt::format("found elements of type '{}', expected {} for {}", array.descr,
                               type.kind == 'f' ? "numbers" : "integers, or as many bytes each",
                               type.name),
                   text);
  for (int64_t n = 0; n < count; ++n) {
    const double value = numberAt(array, n);
    const double top = std::ldexp(1.0, static_cast<int>(8 * type.bytes) - (type.kind == 'i'));
    if (value >= top || value < (type.kind == 'i' ? -top : 0))
      return invalid(
          fmt::format("found {} in element {}, which {} cannot hold", value, n, type.name), text);
    const uint64_t word = value < 0 ? static_cast<uint64_t>(static_cast<int64_t>(value))
                                    : static_cast<uint64_t>(value);
    std::memcpy(out.data() + n * type.bytes, &word, static_cast<size_t>(type.bytes));
  }
  return out;
}

/// "1537i32" -> 4 bytes; nothing for text that is no number with a type.
std::optional<std::vector<std::byte>> scalar(const std::string &text, std::string &why) {
  const PtxType *type = nullptr;
  for (const PtxType &t : kTypes)
    if (text.size() > t.name.size() && text.ends_with(t.name) &&
        (!type || t.name.size() > type->name.size()))
      type = &t;
  if (!type || !std::strchr("+-.0123456789in", text[0]))
    return std::nullopt;
  const std::string digits = text.substr(0, text.size() - type->name.size());
  std::vector<std::byte> bytes(static_cast<size_t>(type->bytes));
  char *end = nullptr;
  errno = 0;
  if (type->kind == 'f') {
    const double value = std::strtod(digits.c_str(), &end);
    if (*end != '\0' || digits.empty())
      return std::nullopt;
    storeElement(numberOf(*type), bytes.data(), 0, value);
    return bytes;
  }
  const bool negative = digits[0] == '-';
  const uint64_t value = std::strtoull(digits.c_str(), &end, 0);
  if (*end != '\0' || digits.empty())
    return std::nullopt;
  // -128 to 255 go into one byte: what a type holds, or its bits.
  const int width = static_cast<int>(8 * type->bytes);
  const uint64_t magnitude = negative ? 0 - value : value;
  const uint64_t most = negative            ? uint64_t{1} << (width - 1)
                        : width == 64       ? ~uint64_t{0}
                        : digits[0] == '0'  ? (uint64_t{1} << width) - 1
                        : type->kind == 'i' ? (uint64_t{1} << (width - 1)) - 1
                                            : (uint64_t{1} << width) - 1;
  if (errno == ERANGE || magnitude > most || (negative && type->kind == 'u')) {
    why = fmt::format("found {}, which {} cannot hold", digits, type->name);
    return std::nullopt;
  }
  std::memcpy(bytes.data(), &value, bytes.size());
  return bytes;
}

/// Splits "q.npy:bf16" at its last colon if a type's name follows.
std::pair<std::string, const PtxType *> splitType(const std::string &text) {
  const size_t colon = text.rfind(':');
  const PtxType *type =
      colon == std::string::npos ? nullptr : findPtxType(std::string_view(text).substr(colon + 1));
  return {type ? text.substr(0, colon) : text, type};
}

template <class T> std::vector<std::byte> bytesOfValue(const T &value) {
  const auto *from = reinterpret_cast<const std::byte *>(&value);
  return {from, from + sizeof(T)};
}

} // namespace

const PtxType *findPtxType(std::string_view name) {
  for (const PtxType &type : kTypes)
    if (type.name == name)
      return &type;
  return nullptr;
}

Result<const ptx::Buffer *> PtxArguments::hold(const std::string &name, std::string_view data,
                                               int64_t bytes, const PtxType *type,
                                               std::vector<int64_t> shape, int64_t offset) {
  const size_t index = arguments.size();
  HEDDLE_TRY(buffer, machine.memory.allocate(static_cast<uint64_t>(std::max<int64_t>(bytes, 1)),
                                             fmt::format("argument {} ({})", index, name)));
  if (!data.empty())
    HEDDLE_CHECK(machine.memory.write(buffer->address, std::as_bytes(std::span(data))));
  buffers.push_back({index, offset, buffer, type, std::move(shape)});
  return buffer;
}

/// A buffer, or null.
Result<uint64_t> PtxArguments::addPointer(const std::string &text, int64_t offset) {
  if (text == "null")
    return uint64_t{0};
  for (const std::string_view word : {"zeros:", "empty:"}) {
    if (!text.starts_with(word))
      continue;
    auto [rest, type] = splitType(text.substr(word.size()));
    int64_t bytes = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), bytes);
    if (error != std::errc() || end != rest.data() + rest.size() || bytes < 0 ||
        bytes > int64_t{1} << 36)
      return invalid("expected a number of bytes, at most 64 GiB", text);
    type = type ? type : findPtxType(bytes % 4 == 0 ? "f32" : "u8");
    if (bytes % type->bytes != 0)
      return invalid(fmt::format("found {} bytes, expected a multiple of {} for {}", bytes,
                                 type->bytes, type->name),
                     text);
    const std::string data(word == "zeros:" ? static_cast<size_t>(bytes) : 0, '\0');
    HEDDLE_TRY(buffer, hold(text, data, bytes, type, {bytes / type->bytes}, offset));
    return buffer->address;
  }
  auto [path, type] = splitType(text);
  NpyArray array;
  if (path.ends_with(".npy")) {
    HEDDLE_TRY(read, readNpyArray(path));
    array = std::move(read);
  } else if (path.find(".safetensors") != std::string::npos) {
    HEDDLE_TRY(tensor, readTensor(path));
    HEDDLE_TRY(wide, tensor.dtype() == DType::F32 || !isFloat(tensor.dtype())
                         ? tensor.convertedTo(tensor.dtype())
                         : tensor.convertedTo(DType::F64));
    array.descr = tensor.dtype() == DType::F32   ? "<f4"
                  : isFloat(tensor.dtype())      ? "<f8"
                  : tensor.dtype() == DType::I64 ? "<i8"
                  : tensor.dtype() == DType::I32 ? "<i4"
                  : tensor.dtype() == DType::I8  ? "|i1"
                                                 : "|u1";
    array.itemBytes = sizeOf(wide.dtype());
    array.shape = wide.shape();
    array.data.assign(static_cast<const char *>(wide.data()), static_cast<size_t>(wide.bytes()));
    if (!type && isFloat(tensor.dtype()) && tensor.dtype() != DType::F64)
      type = findPtxType(tensor.dtype() == DType::F8E4M3   ? "e4m3"
                         : tensor.dtype() == DType::F8E5M2 ? "e5m2"
                                                           : toString(tensor.dtype()));
  } else if (path.ends_with(".bin")) {
    HEDDLE_TRY(data, readFile(path));
    array = {"|u1", 1, {static_cast<int64_t>(data.size())}, std::move(data)};
    type = type ? type : findPtxType("u8");
    if (array.data.size() % static_cast<size_t>(type->bytes) != 0)
      return invalid(
          fmt::format("found {} bytes, expected a multiple of {}", array.data.size(), type->bytes),
          text);
    HEDDLE_TRY(buffer, hold(text, array.data, array.shape[0], type, {array.shape[0] / type->bytes},
                            offset));
    return buffer->address;
  } else {
    return invalid(fmt::format("found '{}', expected FILE.npy[:DTYPE], a number with its type "
                               "(1537i32, 0.125f32), null, or zeros:BYTES; types: {}",
                               text, typeNames()),
                   "");
  }
  if (!type)
    for (const PtxType &t : kTypes)
      if (t.npy == array.descr && (t.npy != "<f4" || t.bytes == 4))
        type = &t;
  if (!type)
    return invalid(fmt::format("found elements of type '{}', expected FILE:DTYPE with one of {}",
                               array.descr, typeNames()),
                   text);
  HEDDLE_TRY(data, elementsAs(*type, array, text));
  HEDDLE_TRY(buffer,
             hold(text, data, static_cast<int64_t>(data.size()), type, array.shape, offset));
  return buffer->address;
}

Status PtxArguments::addValue(const std::string &text) {
  std::string why;
  if (auto bytes = scalar(text, why)) {
    arguments.push_back({text, std::move(*bytes)});
    return {};
  }
  if (!why.empty())
    return invalid(why, fmt::format("--arg {}", text));
  HEDDLE_TRY(address, addPointer(text, 0));
  arguments.push_back({text, bytesOfValue(address)});
  return {};
}

Status PtxArguments::addBytes(const std::string &text) {
  const size_t at = text.find('@');
  HEDDLE_TRY(blob, readFile(text.substr(0, at)));
  std::vector<std::byte> bytes(blob.size());
  std::memcpy(bytes.data(), blob.data(), blob.size());
  for (size_t next = at; next != std::string::npos;) {
    const size_t begin = next + 1;
    next = text.find('@', begin);
    const std::string patch = text.substr(begin, next == std::string::npos ? next : next - begin);
    int64_t offset = 0;
    const auto [end, error] = std::from_chars(patch.data(), patch.data() + patch.size(), offset);
    if (error != std::errc() || *end != '=')
      return invalid(fmt::format("found '@{}', expected @OFFSET=FILE:DTYPE", patch), text);
    if (offset < 0 || offset + 8 > static_cast<int64_t>(bytes.size()))
      return invalid(fmt::format("an address at offset {} does not fit the struct's {} bytes",
                                 offset, bytes.size()),
                     text);
    HEDDLE_TRY(address, addPointer(std::string(end + 1), offset));
    std::memcpy(bytes.data() + offset, &address, sizeof address);
  }
  arguments.push_back({text, std::move(bytes)});
  return {};
}

Status PtxArguments::addTensorMap(const std::string &text) {
  const size_t comma = text.find(',');
  const std::string file = text.substr(0, comma);
  HEDDLE_TRY(address, addPointer(file, 0));
  if (address == 0)
    return invalid("a tensor map needs a tensor", text);
  const Held &held = buffers.back();
  HEDDLE_TRY(image, parseTensorMap(comma == std::string::npos ? "" : text.substr(comma + 1),
                                   *held.type, held.shape, *held.buffer));
  arguments.push_back({text, {image.begin(), image.end()}, true});
  return {};
}

Status PtxArguments::set(ptx::ParamBlock &params, const ptx::Program &program) {
  if (arguments.size() != program.params.size()) {
    Error error{ErrorCode::InvalidArgument,
                fmt::format("kernel '{}' takes {} arguments, given are {}", program.name,
                            program.params.size(), arguments.size())};
    for (size_t i = 0; i < program.params.size(); ++i)
      error.notes.push_back(fmt::format("{}: {} of {} bytes{}", i, program.params[i].name,
                                        program.params[i].bytes,
                                        i < arguments.size() ? " <- " + arguments[i].text : ""));
    return error;
  }
  for (size_t i = 0; i < arguments.size(); ++i) {
    Argument &argument = arguments[i];
    if (argument.tensorMap && program.params[i].bytes == 8) { // a pointer to the map
      HEDDLE_TRY(buffer, machine.memory.allocate(argument.bytes.size(),
                                                 fmt::format("tensor map of argument {}", i)));
      HEDDLE_CHECK(machine.memory.write(buffer->address, argument.bytes));
      argument.bytes = bytesOfValue(buffer->address);
    }
    Status done = params.setBytes(i, argument.bytes);
    if (!done.ok()) {
      Error error = done.error();
      error.notes.push_back(fmt::format("it comes from '{}'", argument.text));
      return error;
    }
  }
  return {};
}

struct PtxArguments::Output {
  const Held *held;
  const PtxType *type;
  std::string path;
};

Result<PtxArguments::Output> PtxArguments::parseOutput(const std::string &text) const {
  size_t argument = 0;
  int64_t offset = 0;
  const char *end = text.data() + text.size();
  auto [at, error] = std::from_chars(text.data(), end, argument);
  if (error == std::errc() && at != end && *at == '@')
    std::tie(at, error) = [&, from = at + 1] {
      const auto result = std::from_chars(from, end, offset);
      return std::pair(result.ptr, result.ec);
    }();
  if (error != std::errc() || at == end || *at != '=' || at + 1 == end)
    return invalid(fmt::format("found --out {}, expected ARGUMENT=FILE.npy or "
                               "ARGUMENT@OFFSET=FILE.npy; arguments count from 0",
                               text),
                   "");
  auto [path, type] = splitType(std::string(at + 1));
  for (const Held &held : buffers)
    if (held.argument == argument && held.offset == offset) {
      type = type ? type : held.type;
      if (held.buffer->bytes % static_cast<uint64_t>(type->bytes) != 0)
        return invalid(fmt::format("the buffer has {} bytes, no multiple of {}", held.buffer->bytes,
                                   type->bytes),
                       "--out " + text);
      return Output{&held, type, path};
    }
  if (argument >= arguments.size())
    return invalid(fmt::format("there is no argument {}: {} are given, counted from 0", argument,
                               arguments.size()),
                   "--out " + text);
  return invalid(fmt::format("argument {} ({}) holds no buffer{}", argument,
                             arguments[argument].text,
                             offset ? fmt::format(" at offset {}", offset) : ""),
                 "--out " + text);
}

Status PtxArguments::checkOutput(const std::string &text) const {
  HEDDLE_TRY(output, parseOutput(text));
  (void)output;
  return {};
}

Status PtxArguments::write(const std::string &text) const {
  HEDDLE_TRY(output, parseOutput(text));
  const Held &held = *output.held;
  int64_t elements = 1;
  for (const int64_t extent : held.shape)
    elements *= extent;
  const size_t bytes = static_cast<size_t>(elements * held.type->bytes);
  std::string data(bytes, '\0');
  HEDDLE_CHECK(machine.memory.read(held.buffer->address, std::as_writable_bytes(std::span(data))));
  if (!output.path.ends_with(".npy")) {
    std::ofstream file(output.path, std::ios::binary);
    file.write(data.data(), static_cast<std::streamsize>(data.size()));
    return file ? Status()
                : Error{ErrorCode::IoError, fmt::format("cannot write '{}'", output.path)};
  }
  const PtxType &type = *output.type;
  NpyArray array{std::string(type.npy), type.bytes, held.shape, std::move(data)};
  if (output.type != held.type)
    array.shape = {static_cast<int64_t>(bytes) / type.bytes};
  if (type.npy == "<f4" && type.bytes != 4) {
    std::string wide(array.data.size() / static_cast<size_t>(type.bytes) * 4, '\0');
    for (int64_t n = 0; n < static_cast<int64_t>(wide.size() / 4); ++n)
      storeElement(DType::F32, wide.data(), n, loadElement(numberOf(type), array.data.data(), n));
    array.data = std::move(wide);
  }
  return writeNpyArray(output.path, array);
}

} // namespace heddle::tool
