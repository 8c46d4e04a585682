// SPDX-License-Identifier: Apache-2.0
// ParseRequestFile: total; what it accepts can be encoded; a refusal says why.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "x509/extension_codec.h"
#include "x509/request_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto file = capstan::x509::ParseRequestFile(input);
  if (!file.ok()) {
    if (file.status().message().empty()) std::abort();
    return 0;
  }
  if (file->is_request == file->subject.empty() || !file->subject.ToDer().ok()) std::abort();
  for (const auto& [name, section] : file->sections) {
    if (!capstan::x509::EncodeExtensions(section.values, "ski", "aki").ok()) std::abort();
  }
  return 0;
}
