// The driver's table: every symbol is known to the driver, and what is missing is told.
#include "runtime/devices/cuda/Driver.h"
#include "tests/support/Test.h"

#include <dlfcn.h>
#include <glob.h>

using namespace heddle;
using namespace heddle::cuda;
using Catch::Matchers::Contains;

TEST_CASE("a computer without a driver is told so, with what can be done without one") {
  Result<Driver> driver = loadDriver("libcuda-that-is-not-there.so.1");
  REQUIRE(!driver.ok());
  CHECK(driver.error().code == ErrorCode::NotFound);
  CHECK_THAT(driver.error().message,
             Contains("libcuda-that-is-not-there.so.1") && Contains("without one"));
}

TEST_CASE("a library that lacks the driver's functions is refused by a function's name") {
  Result<Driver> driver = loadDriver("libm.so.6");
  REQUIRE(!driver.ok());
  CHECK(driver.error().code == ErrorCode::Unsupported);
  CHECK_THAT(driver.error().message, Contains("cuTensorMapEncodeTiled"));
}

TEST_CASE("every symbol of the table is one of the driver's") {
  glob_t stubs = {};
  const bool found = ::glob("/usr/local/cuda*/lib*/stubs/libcuda.so", 0, nullptr, &stubs) == 0;
  const std::string stub = found ? stubs.gl_pathv[0] : "";
  ::globfree(&stubs);
  if (stub.empty())
    HEDDLE_SKIP("no CUDA toolkit with a stub of libcuda");
  Result<Driver> driver = loadDriver(stub);
  INFO((driver.ok() ? "" : driver.error().toString()));
  CHECK(driver.ok());
}

TEST_CASE("an error names what was tried and what the driver says") {
  Driver driver;
  driver.cuGetErrorName = [](CUresult, const char **name) -> CUresult {
    *name = "CUDA_ERROR_OUT_OF_MEMORY";
    return CUDA_SUCCESS;
  };
  driver.cuGetErrorString = [](CUresult, const char **) -> CUresult {
    return CUDA_ERROR_INVALID_VALUE;
  };
  const Error error = driverError(driver, CUDA_ERROR_OUT_OF_MEMORY, "cannot allocate 8 bytes");
  CHECK(error.code == ErrorCode::ResourceExhausted);
  CHECK_THAT(error.message, Contains("cannot allocate 8 bytes: the driver says "
                                     "CUDA_ERROR_OUT_OF_MEMORY (2)"));
  CHECK(driverError(driver, CUDA_ERROR_ILLEGAL_ADDRESS, "x").code == ErrorCode::IoError);
}
