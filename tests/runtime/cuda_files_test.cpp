// Finding NVIDIA's files: order, versions, what is said where there are none.
#include "runtime/CudaFiles.h"
#include "tests/runtime/Scratch.h"
#include "tests/support/Test.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <vector>

using namespace heddle;
using Catch::Matchers::Contains;
using Catch::Matchers::EndsWith;

namespace {

void touch(const std::string &path, const std::string &text = "x") {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path) << text;
}

/// An environment that points nowhere but to `root`.
class Environment {
public:
  explicit Environment(const std::string &root) {
    for (const char *name : kNames) {
      const char *value = std::getenv(name);
      old.push_back(value ? std::optional<std::string>(value) : std::nullopt);
      ::unsetenv(name);
    }
    ::setenv("PATH", (root + "/bin").c_str(), 1);
  }
  ~Environment() {
    for (size_t n = 0; n < old.size(); ++n)
      old[n] ? ::setenv(kNames[n], old[n]->c_str(), 1) : ::unsetenv(kNames[n]);
  }

private:
  static constexpr const char *kNames[] = {
      "PATH", "HOME", "LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH", "VIRTUAL_ENV", "HEDDLE_NVRTC"};
  std::vector<std::optional<std::string>> old;
};

} // namespace

TEST_CASE("what HEDDLE_NVRTC names is taken, a file or a folder, and nothing else") {
  test::ScratchFolder scratch;
  Environment environment(scratch.path());
  touch(scratch / "a/libnvrtc.so.12");
  touch(scratch / "a/libnvrtc.so.13");
  touch(scratch / "b/other.so");
  ::setenv("LD_LIBRARY_PATH", (scratch / "a").c_str(), 1);
  ::setenv("HEDDLE_NVRTC", (scratch / "a").c_str(), 1);
  CHECK(findNvrtc().value() == scratch / "a/libnvrtc.so.13");
  ::setenv("HEDDLE_NVRTC", (scratch / "b/other.so").c_str(), 1);
  CHECK(findNvrtc().value() == scratch / "b/other.so");
  ::setenv("HEDDLE_NVRTC", (scratch / "c").c_str(), 1);
  Result<std::string> none = findNvrtc();
  REQUIRE(!none.ok());
  CHECK(none.error().code == ErrorCode::NotFound);
  CHECK_THAT(none.error().message, Contains(scratch / "c"));
}

TEST_CASE("the loader's folders come before toolkits, toolkits before site-packages") {
  test::ScratchFolder scratch;
  Environment environment(scratch.path());
  touch(scratch / "loader/libnvrtc.so.12");
  touch(scratch / "toolkit/lib64/libnvrtc.so.13");
  ::setenv("LD_LIBRARY_PATH", ("/nowhere:" + scratch / "loader").c_str(), 1);
  ::setenv("CUDA_HOME", (scratch / "toolkit").c_str(), 1);
  CHECK(findNvrtc().value() == scratch / "loader/libnvrtc.so.12");
  touch(scratch / "loader/libnvrtc.so.9"); // 12 is newer than 9
  CHECK(findNvrtc().value() == scratch / "loader/libnvrtc.so.12");
}

TEST_CASE("nvdisasm is found in an environment of Python by its package") {
  test::ScratchFolder scratch;
  Environment environment(scratch.path());
  const std::string site = "venv/lib/python3.11/site-packages/nvidia/";
  touch(scratch / (site + "cu13/bin/nvdisasm"));
  ::setenv("VIRTUAL_ENV", (scratch / "venv").c_str(), 1);
  Result<std::string> found = findNvdisasm();
  if (found.ok() && !found->starts_with(scratch.path()))
    HEDDLE_SKIP("a toolkit of this computer has nvdisasm and comes first");
  REQUIRE(found.ok());
  CHECK_THAT(*found, EndsWith("cu13/bin/nvdisasm"));
}

TEST_CASE("an identity changes with the file and gives its path back") {
  test::ScratchFolder scratch;
  const std::string path = scratch / "lib of mine/libnvrtc.so.13";
  touch(path);
  std::filesystem::create_symlink(path, scratch / "link");
  const std::string before = fileIdentity(path).value();
  CHECK(fileIdentity(scratch / "link").value() == before);
  CHECK(identityPath(before) == std::filesystem::canonical(path).string());
  touch(path, "xy");
  CHECK(fileIdentity(path).value() != before);
  CHECK(fileIdentity(scratch / "none").error().code == ErrorCode::NotFound);
}
