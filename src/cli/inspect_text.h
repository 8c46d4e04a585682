// SPDX-License-Identifier: Apache-2.0
// `capstan inspect` without --short: everything about every certificate of the input.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "cli/findings.h"
#include "x509/certificate.h"
#include "x509/description.h"

namespace capstan::cli {

// `text` safe to show on a terminal: control characters, and bytes that are no UTF-8, as \xNN.
// Certificates are made by others, and a name may hold anything.
std::string ForTerminal(std::string_view text);

std::string LongText(const std::vector<x509::Certificate>& certificates,
                     const std::vector<Finding>& findings, absl::Time now);
std::string LongText(const x509::RequestDescription& request);

// {"certificates": [...], "warnings": [...]}, with a last newline; documented in docs/inspect.md.
std::string JsonText(const std::vector<x509::Certificate>& certificates,
                     const std::vector<Finding>& findings, absl::Time now);
std::string JsonText(const x509::RequestDescription& request);

// "CN=Root CA,O=Istio" or, where the subject is empty, the first URI, DNS name or IP. Printable.
std::string Label(const x509::Certificate& certificate);

}  // namespace capstan::cli
