// SPDX-License-Identifier: Apache-2.0
// What the sources of this room share to speak with OpenSSL. Not for other rooms.
#pragma once

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace capstan::x509 {

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};

using PkeyPtr = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using PkeyCtxPtr = std::unique_ptr<EVP_PKEY_CTX, Deleter<EVP_PKEY_CTX_free>>;
using MdCtxPtr = std::unique_ptr<EVP_MD_CTX, Deleter<EVP_MD_CTX_free>>;
using X509Ptr = std::unique_ptr<X509, Deleter<X509_free>>;
using X509CrlPtr = std::unique_ptr<X509_CRL, Deleter<X509_CRL_free>>;
using X509ReqPtr = std::unique_ptr<X509_REQ, Deleter<X509_REQ_free>>;
using ObjectPtr = std::unique_ptr<ASN1_OBJECT, Deleter<ASN1_OBJECT_free>>;
using Asn1StringPtr = std::unique_ptr<ASN1_STRING, Deleter<ASN1_STRING_free>>;

inline const unsigned char* Bytes(std::string_view s) {
  return reinterpret_cast<const unsigned char*>(s.data());
}
inline unsigned char* MutableBytes(std::string& s) {
  return reinterpret_cast<unsigned char*>(s.data());
}

// What `der` begins with, read by one of OpenSSL's d2i functions; null where it cannot.
template <typename Ptr, auto D2i>
Ptr Decode(std::string_view der) {
  const unsigned char* at = Bytes(der);
  Ptr decoded(D2i(nullptr, &at, static_cast<long>(der.size())));
  ERR_clear_error();
  return decoded;
}

// X509_verify and the like: for algorithms with parameters, which OpenSSL has to read itself.
template <auto Verify, typename Object>
bool OpenSslVerifies(Object* object, EVP_PKEY* key) {
  const bool verifies = object != nullptr && key != nullptr && Verify(object, key) == 1;
  ERR_clear_error();
  return verifies;
}

// "WHAT: REASON" with the first reason of OpenSSL's error queue, which is emptied. Without a reason
// it is WHAT alone.
absl::Status OpenSslError(absl::StatusCode code, std::string_view what);

}  // namespace capstan::x509
