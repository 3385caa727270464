// Looks names up outwards:  %r17 is number 17 of ".reg .b32 %r<32>", unless declared by itself.
#include "runtime/devices/ptx/Scope.h"

#include <charconv>

namespace heddle::ptx {

int findRegister(const std::vector<Scope> &scopes, std::string_view name) {
  size_t digits = name.size();
  while (digits > 0 && name[digits - 1] >= '0' && name[digits - 1] <= '9')
    --digits;
  int number = -1;
  const bool plain = digits < name.size() && (name[digits] != '0' || digits + 1 == name.size());
  if (plain)
    std::from_chars(name.data() + digits, name.data() + name.size(), number);
  const std::string whole(name), prefix(name.substr(0, digits));
  for (size_t i = scopes.size(); i-- > 0;) {
    if (auto found = scopes[i].registers.find(whole);
        found != scopes[i].registers.end() && found->second.count < 0)
      return found->second.first;
    if (number < 0)
      continue;
    if (auto found = scopes[i].registers.find(prefix);
        found != scopes[i].registers.end() && number < found->second.count)
      return found->second.first + number;
  }
  return -1;
}

int findVariable(const std::vector<Scope> &scopes, std::string_view name) {
  const std::string key(name);
  for (size_t i = scopes.size(); i-- > 0;)
    if (auto found = scopes[i].variables.find(key); found != scopes[i].variables.end())
      return found->second;
  return -1;
}

} // namespace heddle::ptx
