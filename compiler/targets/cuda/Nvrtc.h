// NVRTC, NVIDIA's compiler of CUDA text, loaded at run time: CUDA C++ in; PTX, cubin and what ptxas
// says about registers and spills out. No CUDA header is included here, nor in the text.
#pragma once

#include "runtime/Artifact.h"
#include "runtime/Result.h"

#include <cstdint>
#include <map>
#include <string>
#include <type_traits>
#include <vector>

namespace heddle::compiler::cuda {

struct CudaCode {
  std::string ptx;
  std::string cubin;                        ///< empty if only PTX was asked for
  std::string log;                          ///< of the compiler, warnings included
  std::map<std::string, Resources> entries; ///< by name; empty if only PTX was asked for
};

/// One loaded libnvrtc. It stays loaded for the life of the process, so loading it again costs
/// nothing. Thread-safe.
class Nvrtc {
public:
  enum Output { Ptx, PtxAndCubin };
  /// How much NVVM and ptxas do, where NVRTC can choose (CUDA 13): Quick takes two thirds of the
  /// time; Least a third, for code that tells only whether the text compiles.
  enum Effort { Full, Quick, Least };

  /// Loads the library at `path`; empty: the one that runtime/CudaFiles.h finds. NotFound where
  /// there is none, Unsupported where the file lacks a function that is needed.
  static Result<Nvrtc> load(const std::string &path = "");

  const std::string &path() const { return file; }
  int64_t majorVersion() const { return major; }
  int64_t minorVersion() const { return minor; }
  /// "13.0"
  std::string version() const;
  /// The architectures it knows, e.g. 75, 80, .., 121.
  const std::vector<int64_t> &architectures() const { return known; }

  /// Compiles CUDA text for `arch` (sm_80, sm_90a, ...). `name` is the file's name in messages.
  /// NotFound for an architecture that this NVRTC does not know, with the known ones. Text that is
  /// refused is a bug of whoever wrote it: CompilerFailure, with the first message, and with text
  /// and log saved in a new folder below the system's folder for temporary files, named in `where`.
  Result<CudaCode> compile(const std::string &text, const std::string &name,
                           const std::string &arch, Output output = PtxAndCubin,
                           Effort effort = Full) const;

private:
  struct Functions {
#define HEDDLE_NVRTC_FUNCTION(name, type) std::type_identity_t<type> name = nullptr;
#include "compiler/targets/cuda/Nvrtc.def"
#undef HEDDLE_NVRTC_FUNCTION
  };
  Status checkArchitecture(const std::string &arch) const;
  Result<std::string> text(void *program, int (*size)(void *, size_t *),
                           int (*get)(void *, char *)) const;

  std::string file;
  int64_t major = 0, minor = 0;
  std::vector<int64_t> known;
  Functions call;
};

/// "sm_90a" -> 90; 0 for a name of another form.
int64_t architectureNumber(const std::string &arch);

/// The facts in a log that ptxas wrote with -v, by entry.
std::map<std::string, Resources> readPtxasLog(const std::string &log);

} // namespace heddle::compiler::cuda
