// SPDX-License-Identifier: Apache-2.0
#include "x509/seal.h"

#include <openssl/err.h>
#include <openssl/sha.h>

#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "x509/openssl.h"

namespace capstan::x509 {
namespace {

constexpr size_t kKeyBytes = 32;
constexpr size_t kNonceBytes = 12;
constexpr size_t kTagBytes = 16;

using CipherPtr = std::unique_ptr<EVP_CIPHER_CTX, Deleter<EVP_CIPHER_CTX_free>>;

absl::Status CheckKey(const Secret& key) {
  return key.Reveal().size() == kKeyBytes
             ? absl::OkStatus()
             : absl::InvalidArgumentError(absl::StrCat("a sealing key has ", kKeyBytes,
                                                       " bytes, this one ", key.Reveal().size()));
}

// A context with key, nonce and additional data set; null if OpenSSL refuses.
CipherPtr Begin(bool encrypt, const Secret& key, std::string_view nonce, std::string_view context) {
  CipherPtr cipher(EVP_CIPHER_CTX_new());
  int ignored = 0;
  // The default nonce length of GCM in OpenSSL is these 12 bytes.
  if (cipher == nullptr ||
      EVP_CipherInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, Bytes(key.Reveal()), Bytes(nonce),
                        encrypt ? 1 : 0) != 1 ||
      EVP_CipherUpdate(cipher.get(), nullptr, &ignored, Bytes(context),
                       static_cast<int>(context.size())) != 1) {
    return nullptr;
  }
  return cipher;
}

}  // namespace

absl::StatusOr<std::string> Seal(const Secret& key, std::string_view nonce,
                                 std::string_view context, const Secret& plain) {
  if (absl::Status status = CheckKey(key); !status.ok()) {
    return status;
  }
  if (nonce.size() != kNonceBytes) {
    return absl::InvalidArgumentError(absl::StrCat("a nonce has ", kNonceBytes, " bytes"));
  }
  const CipherPtr cipher = Begin(/*encrypt=*/true, key, nonce, context);
  const std::string_view text = plain.Reveal();
  std::string sealed(nonce);
  sealed.resize(kNonceBytes + text.size() + kTagBytes);
  unsigned char* const out = MutableBytes(sealed) + kNonceBytes;
  int size = 0;
  int last = 0;
  if (cipher == nullptr ||
      EVP_CipherUpdate(cipher.get(), out, &size, Bytes(text), static_cast<int>(text.size())) != 1 ||
      EVP_CipherFinal_ex(cipher.get(), out + size, &last) != 1 ||
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, kTagBytes, out + text.size()) != 1) {
    return OpenSslError(absl::StatusCode::kInternal, "sealing failed");
  }
  return sealed;
}

absl::StatusOr<Secret> Unseal(const Secret& key, std::string_view context,
                              std::string_view sealed) {
  if (absl::Status status = CheckKey(key); !status.ok()) {
    return status;
  }
  if (sealed.size() < kNonceBytes + kTagBytes) {
    return absl::DataLossError(
        absl::StrCat("a sealed record of ", sealed.size(), " bytes is cut off"));
  }
  const std::string_view nonce = sealed.substr(0, kNonceBytes);
  const std::string_view text = sealed.substr(kNonceBytes, sealed.size() - kNonceBytes - kTagBytes);
  std::string tag(sealed.substr(sealed.size() - kTagBytes));
  const CipherPtr cipher = Begin(/*encrypt=*/false, key, nonce, context);
  std::string plain(text.size(), '\0');
  int size = 0;
  int last = 0;
  unsigned char none = 0;  // GCM writes nothing at the end
  const bool opened =
      cipher != nullptr &&
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, kTagBytes, tag.data()) == 1 &&
      EVP_CipherUpdate(cipher.get(), MutableBytes(plain), &size, Bytes(text),
                       static_cast<int>(text.size())) == 1 &&
      EVP_CipherFinal_ex(cipher.get(), &none, &last) == 1;
  Secret result(std::move(plain));  // wiped also where it is not authentic
  if (!opened) {
    ERR_clear_error();
    return absl::DataLossError(
        "a sealed record does not open: another key, another context, or changed bytes");
  }
  return result;
}

std::string Sha256(std::string_view bytes) {
  std::string digest(SHA256_DIGEST_LENGTH, '\0');
  SHA256(Bytes(bytes), bytes.size(), MutableBytes(digest));
  return digest;
}

}  // namespace capstan::x509
