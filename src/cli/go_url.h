// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace capstan::cli {

// `uri` as Go prints it after parsing (url.Parse and URL.String): the scheme in lower case, an
// empty fragment left out, and characters of path and fragment that may not stand there as %XX.
// Everything else stays as written. For URIs that Go accepts in a certificate; others come back
// somehow.
std::string GoUrlString(std::string_view uri);

}  // namespace capstan::cli
