// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "x509/name.h"

namespace capstan::cli {

// A subject as openssl's -subj takes it: "/O=Istio/CN=httpbin"; a backslash takes the next
// character as it is. InvalidArgument says where it goes wrong.
absl::StatusOr<x509::Name> ParseSubject(std::string_view text);

}  // namespace capstan::cli
