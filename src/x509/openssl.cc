// SPDX-License-Identifier: Apache-2.0
#include "x509/openssl.h"

#include <openssl/err.h>

#include "absl/strings/str_cat.h"
#include "base/strings.h"

namespace capstan::x509 {

absl::Status OpenSslError(absl::StatusCode code, std::string_view what) {
  const unsigned long error = ERR_get_error();
  const char* reason = error == 0 ? nullptr : ERR_reason_error_string(error);
  ERR_clear_error();
  return absl::Status(code,
                      reason == nullptr ? std::string(what) : absl::StrCat(what, ": ", reason));
}

}  // namespace capstan::x509
