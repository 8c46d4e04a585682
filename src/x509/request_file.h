// SPDX-License-Identifier: Apache-2.0
// OpenSSL-style request files ("ca.conf", "csr.conf"): what `openssl req -config` and
// `openssl x509 -extfile` read, restricted to what has one meaning in both. A file is checked as a
// whole; what is not known is refused with its line and what to do, never skipped.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "x509/extensions.h"
#include "x509/key.h"
#include "x509/name.h"

namespace capstan::x509 {

// One section of extensions.
struct RequestedExtensions {
  Extensions values;
  // "keyid:always": the AKI is wanted even where a certificate signs itself (OpenSSL leaves it out
  // there for a plain "keyid").
  bool authority_key_id_always = false;
  int line = 0;                                   // of the section
  std::map<std::string, int, std::less<>> lines;  // of each key: lines.at("basicConstraints")
};

struct RequestFile {
  // Whether there is a [ req ] section; without it the file holds extensions only.
  bool is_request = false;
  Name subject;                         // empty only without [ req ]
  std::optional<KeyType> default_bits;  // the key `csr` makes where none is given
  std::string req_extensions;           // the section for requests; empty: none
  std::string x509_extensions;          // the section for self-signed certificates; empty: none
  std::map<std::string, RequestedExtensions> sections;

  // The section `name`, or NotFound with the names there are.
  absl::StatusOr<RequestedExtensions> Section(const std::string& name) const;
};

// InvalidArgument: "line N: what is wrong; what to do". Reads
//   [ req ]     default_bits (2048, 3072, 4096), default_md (sha256), prompt (no), utf8 (yes),
//               encrypt_key (no), distinguished_name, req_extensions, x509_extensions
//   [ the DN ]  name attributes by short or long name, "0.OU" where one is repeated
//   [ others ]  subjectKeyIdentifier, authorityKeyIdentifier, basicConstraints, keyUsage,
//               extendedKeyUsage, subjectAltName (DNS, IP, URI, email; inline or @section)
absl::StatusOr<RequestFile> ParseRequestFile(std::string_view text);

// Adds a subject alternative name of one of the kinds above: ("DNS", "a.example"). InvalidArgument
// says what is wrong with it, to be read after the name itself: "is no DNS name".
absl::Status AddSubjectAltName(std::string_view kind, std::string_view value,
                               SubjectAltNames& sans);

}  // namespace capstan::x509
