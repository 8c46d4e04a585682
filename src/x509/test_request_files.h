// SPDX-License-Identifier: Apache-2.0
// Request files for openssl that others wrote. For tests.
#pragma once

#include <string>

#include "absl/strings/str_replace.h"

namespace capstan::x509::testing {

// As "How Are Certificates Managed in Istio?" prints it: in step 2 with "req_dn", "Root CA" and
// "true", in step 5 with "dn", "productpage" and "true", of which the first and the last are
// mistakes.
inline std::string GuideFile(const std::string& dn, const std::string& cn, const std::string& ca) {
  constexpr char kFile[] = R"([ req ]
default_bits = 2048
prompt = no
utf8 = yes
encrypt_key = no
distinguished_name  = %DN%
req_extensions = req_ext
x509_extensions = req_ext

[ req_dn ]
O = Istio
CN = %CN%

[ req_ext ]
subjectKeyIdentifier = hash
basicConstraints = critical, CA:%CA%
keyUsage = critical, digitalSignature, nonRepudiation, keyEncipherment, keyCertSign
)";
  return absl::StrReplaceAll(kFile, {{"%DN%", dn}, {"%CN%", cn}, {"%CA%", ca}});
}

// Byte for byte what Istio's makefile writes.
inline constexpr char kIstioRootFile[] = R"([ req ]
encrypt_key = no
prompt = no
utf8 = yes
default_md = sha256
default_bits = 4096
req_extensions = req_ext
x509_extensions = req_ext
distinguished_name = req_dn
[ req_ext ]
subjectKeyIdentifier = hash
basicConstraints = critical, CA:true
keyUsage = critical, digitalSignature, nonRepudiation, keyEncipherment, keyCertSign
[ req_dn ]
O = Istio
CN = Root CA
)";
inline constexpr char kIstioIntermediateFile[] = R"([ req ]
encrypt_key = no
prompt = no
utf8 = yes
default_md = sha256
default_bits = 4096
req_extensions = req_ext
x509_extensions = req_ext
distinguished_name = req_dn
[ req_ext ]
subjectKeyIdentifier = hash
basicConstraints = critical, CA:true, pathlen:0
keyUsage = critical, digitalSignature, nonRepudiation, keyEncipherment, keyCertSign
subjectAltName=@san
[ san ]
DNS.1 = istiod.istio-system.svc
[ req_dn ]
O = Istio
CN = Intermediate CA
L = intermediateA
)";

}  // namespace capstan::x509::testing
