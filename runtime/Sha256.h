// SHA-256 (FIPS 180-4): names of store entries and checksums of their contents.
#pragma once

#include <string>
#include <string_view>

namespace heddle {

/// The 32 bytes of the digest.
std::string sha256(std::string_view bytes);
/// The digest as 64 lower-case hexadecimal digits.
std::string sha256Hex(std::string_view bytes);

} // namespace heddle
