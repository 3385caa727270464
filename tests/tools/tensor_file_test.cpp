// .npy and .safetensors: round trips, Fortran order, and files that are cut short or damaged.
#include "tests/support/Files.h"
#include "tests/support/Test.h"
#include "tools/heddle/TensorFile.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>

using namespace heddle;
using namespace heddle::tool;

namespace {

std::string scratch(const std::string &name) {
  auto folder = std::filesystem::temp_directory_path() / "heddle-tensor-file-test";
  std::filesystem::create_directories(folder);
  return (folder / name).string();
}

HostTensor counting(DType dtype, const std::vector<int64_t> &shape) {
  auto tensor = HostTensor::allocate(dtype, shape);
  REQUIRE(tensor.ok());
  for (int64_t i = 0; i < tensor->elements(); ++i)
    storeElement(dtype, tensor->data(), i, static_cast<double>(i % 15) - 3);
  return std::move(*tensor);
}

void checkEqual(const HostTensor &a, const HostTensor &b) {
  REQUIRE(a.shape() == b.shape());
  for (int64_t i = 0; i < a.elements(); ++i)
    REQUIRE(loadElement(a.dtype(), a.data(), i) == loadElement(b.dtype(), b.data(), i));
}

/// A version 1.0 file with this header dict and these bytes.
std::string npy(const std::string &dict, const std::string &data) {
  std::string file = "\x93NUMPY";
  file += {'\x01', '\x00', static_cast<char>(dict.size()), static_cast<char>(dict.size() >> 8)};
  return file + dict + data;
}

} // namespace

TEST_CASE("tensors written and read back are the same, whatever their rank and type") {
  for (DType dtype :
       {DType::F64, DType::F32, DType::BF16, DType::F16, DType::I64, DType::I32, DType::I8})
    for (const std::vector<int64_t> &shape :
         {std::vector<int64_t>{}, {7}, {0, 3}, {2, 3, 5}, {1, 7, 2, 72}}) {
      HostTensor tensor = counting(dtype, shape);
      for (const char *name : {"t.npy", "t.safetensors"}) {
        REQUIRE(writeTensor(scratch(name), tensor, "q").ok());
        auto read = readTensor(scratch(name));
        REQUIRE(read.ok());
        checkEqual(*read, tensor);
      }
    }
}

TEST_CASE("a bf16 tensor becomes f32 in .npy and stays bf16 in .safetensors") {
  HostTensor tensor = counting(DType::BF16, {3, 5});
  REQUIRE(writeTensor(scratch("b.npy"), tensor, "q").ok());
  CHECK(readTensor(scratch("b.npy"))->dtype() == DType::F32);
  REQUIRE(writeTensor(scratch("b.safetensors"), tensor, "q").ok());
  CHECK(readTensor(scratch("b.safetensors"))->dtype() == DType::BF16);
}

TEST_CASE("column-major files become row-major tensors") {
  int32_t columns[6] = {1, 4, 2, 5, 3, 6};
  auto read = parseNpy(npy("{'descr': '<i4', 'fortran_order': True, 'shape': (2, 3), }\n",
                           std::string(reinterpret_cast<char *>(columns), sizeof columns)));
  REQUIRE(read.ok());
  for (int i = 0; i < 6; ++i)
    CHECK(loadElement(DType::I32, read->data(), i) == i + 1);
}

TEST_CASE("a file cut short at any byte is an error, never a tensor") {
  HostTensor tensor = counting(DType::F32, {2, 3, 5});
  for (const char *name : {"c.npy", "c.safetensors"}) {
    REQUIRE(writeTensor(scratch(name), tensor, "q").ok());
    std::string whole = test::readFile(scratch(name));
    bool isNpy = std::string(name).ends_with("npy");
    for (size_t length = 0; length < whole.size(); ++length) {
      std::string_view part = std::string_view(whole).substr(0, length);
      auto read = isNpy ? parseNpy(part) : parseSafetensors(part, "");
      REQUIRE(!read.ok());
      REQUIRE(read.error().code == ErrorCode::CorruptData);
    }
  }
}

TEST_CASE("damaged files give an error or a tensor, never a crash") {
  HostTensor tensor = counting(DType::F32, {2, 3, 5});
  std::mt19937 random(7);
  for (const char *name : {"d.npy", "d.safetensors"}) {
    REQUIRE(writeTensor(scratch(name), tensor, "q").ok());
    std::string whole = test::readFile(scratch(name));
    bool isNpy = std::string(name).ends_with("npy");
    for (int round = 0; round < 4000; ++round) {
      std::string damaged = whole;
      size_t head = std::min<size_t>(damaged.size(), 140);
      for (unsigned n = 0; n <= random() % 4; ++n)
        damaged[random() % head] = static_cast<char>(random());
      auto read = isNpy ? parseNpy(damaged) : parseSafetensors(damaged, "");
      if (!read.ok())
        REQUIRE(!read.error().message.empty());
    }
  }
}

TEST_CASE("sizes a file cannot hold are refused before anything is allocated") {
  auto huge = parseNpy(
      npy("{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387904, 16), }\n",
          "12345678"));
  REQUIRE(!huge.ok());
  CHECK(huge.error().code == ErrorCode::CorruptData);
  auto negative =
      parseNpy(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }\n", "1234"));
  CHECK(!negative.ok());
}

TEST_CASE("types and endings that are not read say which are") {
  auto complex =
      parseNpy(npy("{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }\n", "12345678"));
  REQUIRE(!complex.ok());
  CHECK(complex.error().code == ErrorCode::Unsupported);
  CHECK(complex.error().message.find("<c8") != std::string::npos);
  CHECK(readTensor("q.txt").error().code == ErrorCode::InvalidArgument);
  CHECK(readTensor(scratch("missing.npy")).error().code == ErrorCode::NotFound);
}

TEST_CASE("a .safetensors file with several tensors wants a name") {
  std::string header = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                       R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})";
  uint64_t length = header.size();
  std::string file(reinterpret_cast<char *>(&length), 8);
  float numbers[3] = {1, 2, 3};
  file += header + std::string(reinterpret_cast<char *>(numbers), 12);
  CHECK(parseSafetensors(file, "").error().message.find("2 tensors") != std::string::npos);
  CHECK(parseSafetensors(file, "c").error().code == ErrorCode::NotFound);
  auto b = parseSafetensors(file, "b");
  REQUIRE(b.ok());
  CHECK(loadElement(DType::F32, b->data(), 1) == 3);
}
