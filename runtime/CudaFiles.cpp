// Walks the folders where NVIDIA's files usually are, from what the user says to what the system
// has, e.g. for NVRTC:
//   HEDDLE_NVRTC -> /usr/lib/x86_64-linux-gnu -> /usr/local/cuda/lib64 ->
//   site-packages/nvidia/*/lib
#include "runtime/CudaFiles.h"

#include "runtime/OwnFolder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <system_error>

namespace heddle {
namespace {

using Folders = std::vector<std::string>;

std::string variable(const char *name) {
  const char *value = std::getenv(name);
  return value ? value : "";
}

/// Paths that match a shell pattern, in descending order: of several versions the newest first.
Folders matches(const std::string &pattern) {
  Folders found;
  glob_t result = {};
  if (::glob(pattern.c_str(), 0, nullptr, &result) == 0)
    found.assign(result.gl_pathv, result.gl_pathv + result.gl_pathc);
  ::globfree(&result);
  std::sort(found.begin(), found.end(), [](const std::string &a, const std::string &b) {
    return ::strverscmp(a.c_str(), b.c_str()) > 0;
  });
  return found;
}

void append(Folders &folders, const Folders &more) {
  folders.insert(folders.end(), more.begin(), more.end());
}

/// The items of "a:b:c".
Folders itemsOf(const std::string &list) {
  Folders items;
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(':', begin), list.size());
    if (end > begin)
      items.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return items;
}

// --- where to look -------------------------------------------------------------------------------

/// Folders of a loader configuration: one a line, `include PATTERN` reads others.
Folders loaderFolders(const std::string &file, int depth = 0) {
  Folders folders;
  std::ifstream stream(file);
  for (std::string line; depth < 4 && std::getline(stream, line);)
    if (line.starts_with("include "))
      for (const std::string &other : matches(line.substr(8)))
        append(folders, loaderFolders(other, depth + 1));
    else if (line.starts_with("/"))
      folders.push_back(line.substr(0, line.find_last_not_of(" \t") + 1));
  return folders;
}

Folders toolkits() {
  Folders roots;
  for (const char *name : {"CUDA_HOME", "CUDA_PATH"})
    if (const std::string root = variable(name); !root.empty())
      roots.push_back(root);
  roots.push_back("/usr/local/cuda");
  append(roots, matches("/usr/local/cuda-*"));
  roots.push_back("/opt/cuda");
  return roots;
}

/// The `nvidia` folders in which PyPI's packages put their parts.
Folders pythonParts() {
  Folders sites;
  if (const std::string environment = variable("VIRTUAL_ENV"); !environment.empty())
    append(sites, matches(environment + "/lib/python3*/site-packages"));
  if (const std::string home = variable("HOME"); !home.empty())
    append(sites, matches(home + "/.local/lib/python3*/site-packages"));
  for (const std::string &folder : itemsOf(variable("PATH")))
    if (::access((folder + "/python3").c_str(), X_OK) == 0) {
      append(sites, matches(folder + "/../lib/python3*/site-packages"));
      append(sites, matches(folder + "/../lib/python3*/dist-packages"));
    }
  sites.push_back(ownFolder() + "/../../.cache/nvidia"); // of the checkout: tools/setup.sh
  Folders parts;
  for (const std::string &site : sites)
    append(parts, matches(site + "/nvidia/*"));
  return parts;
}

Folders libraryFolders() {
  Folders folders = itemsOf(variable("LD_LIBRARY_PATH"));
  append(folders, loaderFolders("/etc/ld.so.conf"));
  append(folders, {"/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64",
                   "/usr/lib", "/usr/local/lib"});
  for (const std::string &root : toolkits())
    append(folders, {root + "/lib64", root + "/lib", root + "/targets/x86_64-linux/lib"});
  for (const std::string &part : pythonParts())
    folders.push_back(part + "/lib");
  return folders;
}

Folders programFolders() {
  Folders folders = itemsOf(variable("PATH"));
  for (const std::string &root : toolkits())
    folders.push_back(root + "/bin");
  for (const std::string &part : pythonParts())
    folders.push_back(part + "/bin");
  return folders;
}

// --- looking -------------------------------------------------------------------------------------

bool isFile(const std::string &path) {
  struct stat status;
  return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
         ::access(path.c_str(), R_OK) == 0;
}

/// The newest file of a folder that matches, or empty.
std::string inFolder(const std::string &folder, const std::string &pattern) {
  for (const std::string &path : matches(folder + "/" + pattern))
    if (isFile(path))
      return path;
  return "";
}

struct Wanted {
  const char *what, *variable, *pattern, *package;
};

Result<std::string> whereVariableSays(const Wanted &wanted, const std::string &place) {
  const std::string inside = inFolder(place, wanted.pattern);
  if (isFile(place) || !inside.empty())
    return isFile(place) ? place : inside;
  return Error{ErrorCode::NotFound,
               fmt::format("found no {} at {}, which the variable {} names; expected the file, or "
                           "a folder with {}",
                           wanted.what, place, wanted.variable, wanted.pattern)};
}

Result<std::string> find(const Wanted &wanted, Folders folders) {
  if (const std::string place = variable(wanted.variable); !place.empty())
    return whereVariableSays(wanted, place);
  for (const std::string &folder : folders)
    if (const std::string path = inFolder(folder, wanted.pattern); !path.empty())
      return path;
  Error error{ErrorCode::NotFound,
              fmt::format("found no {} on this computer; install the CUDA toolkit, or "
                          "`pip install {}`, or set {} to where it is",
                          wanted.what, wanted.package, wanted.variable)};
  error.notes.push_back(
      fmt::format("looked for {} in {}", wanted.pattern, fmt::join(folders, ", ")));
  error.notes.push_back("and in site-packages/nvidia/* of each python3 on the PATH");
  return error;
}

} // namespace

Result<std::string> findNvrtc() {
  return find({"NVRTC", "HEDDLE_NVRTC", "libnvrtc.so*", "nvidia-cuda-nvrtc"}, libraryFolders());
}

Result<std::string> findNvdisasm() {
  return find({"nvdisasm", "HEDDLE_NVDISASM", "nvdisasm", "nvidia-cuda-nvdisasm"},
              programFolders());
}

Result<std::string> fileIdentity(const std::string &path) {
  std::error_code failure;
  const std::string real = std::filesystem::canonical(path, failure).string();
  struct stat status;
  if (failure || ::stat(real.c_str(), &status) != 0)
    return Error{ErrorCode::NotFound,
                 fmt::format("cannot read {}: {}", path,
                             failure ? failure.message() : std::generic_category().message(errno))};
  return fmt::format("{} {} {}.{:09}", real, status.st_size, status.st_mtim.tv_sec,
                     status.st_mtim.tv_nsec);
}

std::string identityPath(const std::string &identity) {
  const size_t time = identity.rfind(' ');
  const size_t size = time == identity.npos || time == 0 ? time : identity.rfind(' ', time - 1);
  return size == identity.npos ? identity : identity.substr(0, size);
}

} // namespace heddle
