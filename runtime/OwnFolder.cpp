// Asks the loader which file this function came from:  /opt/heddle/lib/libheddle.so ->
// /opt/heddle/lib
#include "runtime/OwnFolder.h"

#include <dlfcn.h>

namespace heddle {

std::string ownFolder() {
  Dl_info info;
  if (!::dladdr(reinterpret_cast<void *>(&ownFolder), &info) || !info.dli_fname)
    return ".";
  const std::string path = info.dli_fname;
  const size_t slash = path.rfind('/');
  return slash == path.npos ? "." : path.substr(0, slash);
}

} // namespace heddle
