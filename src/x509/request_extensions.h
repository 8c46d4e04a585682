// SPDX-License-Identifier: Apache-2.0
// The extension sections of request files. Not for other rooms: they use x509/request_file.h.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "x509/conf_text.h"
#include "x509/request_file.h"

namespace capstan::x509 {

const ConfSection* FindSection(const std::vector<ConfSection>& sections, std::string_view name);

// The sections that a "subjectAltName = @NAME" of any section names.
std::vector<std::string> ListSections(const std::vector<ConfSection>& sections);

bool IsExtensionKey(std::string_view key);

// Reads `section`; the lists it names are looked up in `sections`.
absl::StatusOr<RequestedExtensions> ParseExtensionSection(const ConfSection& section,
                                                          const std::vector<ConfSection>& sections);

// ": did you mean X?" or, where nothing is near, ": it is one of A, B, C".
std::string Suggest(std::string_view word, const std::vector<std::string>& known);

}  // namespace capstan::x509
