// Reading and writing records as bytes. A type says once what its fields are:
//   template <typename Archive> void transfer(Archive &a, Point &p) { a(p.x, p.y); }
// and ByteWriter and ByteReader both walk that. The reader is made for bytes it cannot trust: it
// never reads past the end, never allocates more than the bytes left could fill, and stays failed
// after the first mistake. Integers are little-endian and as wide as their C++ type.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace heddle {

static_assert(std::endian::native == std::endian::little, "stored records are little-endian");

template <typename T>
concept PlainNumber = (std::is_arithmetic_v<T> || std::is_enum_v<T>) && !std::is_same_v<T, bool>;

class ByteWriter {
public:
  template <typename... T> void operator()(const T &...values) { (put(values), ...); }
  /// For values that not every byte pattern is; see the reader's.
  void require(bool) {}
  std::string take() { return std::move(bytes); }

private:
  void raw(const void *data, size_t size) { bytes.append(static_cast<const char *>(data), size); }
  void count(size_t n) { put(static_cast<uint64_t>(n)); }

  template <PlainNumber T> void put(const T &value) { raw(&value, sizeof(T)); }
  void put(const bool &value) { put(static_cast<uint8_t>(value)); }
  void put(const std::string &text) {
    count(text.size());
    raw(text.data(), text.size());
  }
  template <typename T> void put(const std::vector<T> &values) {
    count(values.size());
    for (const T &value : values)
      put(value);
  }
  template <typename K, typename V> void put(const std::map<K, V> &values) {
    count(values.size());
    for (const auto &[key, value] : values) {
      put(key);
      put(value);
    }
  }
  template <typename T, size_t N> void put(const T (&values)[N]) {
    for (const T &value : values)
      put(value);
  }
  template <typename T>
    requires std::is_class_v<T>
  void put(const T &record) {
    transfer(*this, const_cast<T &>(record)); // a writer only reads
  }

  std::string bytes;
};

class ByteReader {
public:
  explicit ByteReader(std::string_view bytes) : rest(bytes) {}

  template <typename... T> void operator()(T &...values) { (get(values), ...); }
  /// Fails unless the condition holds.
  void require(bool condition) { good = good && condition; }
  /// Nothing was missing or malformed so far.
  bool ok() const { return good; }
  /// Everything was read, and nothing was missing.
  bool atEnd() const { return good && rest.empty(); }

private:
  bool raw(void *data, size_t size) {
    if (!good || rest.size() < size)
      return good = false;
    std::memcpy(data, rest.data(), size);
    rest.remove_prefix(size);
    return true;
  }
  /// A count of things that take at least one byte each; 0 once failed.
  size_t count() {
    uint64_t n = 0;
    get(n);
    if (!good || n > rest.size())
      good = false;
    return good ? n : 0;
  }

  template <PlainNumber T> void get(T &value) {
    T read;
    if (raw(&read, sizeof(T)))
      value = read;
  }
  void get(bool &value) {
    uint8_t read = 0;
    get(read);
    good = good && read <= 1;
    value = read == 1;
  }
  void get(std::string &text) {
    const size_t n = count();
    text.assign(rest.substr(0, n));
    rest.remove_prefix(n);
  }
  template <typename T> void get(std::vector<T> &values) {
    values.clear();
    for (size_t n = count(); n > 0 && good; --n)
      get(values.emplace_back());
  }
  template <typename K, typename V> void get(std::map<K, V> &values) {
    values.clear();
    for (size_t n = count(); n > 0 && good; --n) {
      K key{};
      get(key);
      good = good && (values.empty() || values.rbegin()->first < key); // ordered: one byte form
      get(values[key]);
    }
  }
  template <typename T, size_t N> void get(T (&values)[N]) {
    for (T &value : values)
      get(value);
  }
  template <typename T>
    requires std::is_class_v<T>
  void get(T &record) {
    transfer(*this, record);
  }

  std::string_view rest;
  bool good = true;
};

} // namespace heddle
