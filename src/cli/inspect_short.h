// SPDX-License-Identifier: Apache-2.0
// What `step certificate inspect --short` v0.30.6 prints, byte for byte.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "x509/certificate.h"
#include "x509/description.h"

namespace capstan::cli {

std::string ShortText(const x509::Certificate& certificate);
std::string ShortText(const x509::RequestDescription& request);

// The whole output for the bytes of a file: its first certificate, all of them with `bundle`, or
// its first request. InvalidArgument with step's own words, in which `name` stands for the file.
absl::StatusOr<std::string> ShortTextOfBytes(std::string_view pem_or_der, std::string_view name,
                                             bool bundle);

}  // namespace capstan::cli
