// SPDX-License-Identifier: Apache-2.0
#include "x509/key.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/rsa.h>

#include <array>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/strings.h"
#include "x509/openssl.h"
#include "x509/pem.h"

namespace capstan::x509 {
namespace {

struct KeyTypeRow {
  KeyType type;
  std::string_view name;
  unsigned rsa_bits;  // 0: an elliptic curve
  const char* group;
};
constexpr std::array<KeyTypeRow, 5> kKeyTypes = {{
    {KeyType::kRsa2048, "rsa-2048", 2048, nullptr},
    {KeyType::kRsa3072, "rsa-3072", 3072, nullptr},
    {KeyType::kRsa4096, "rsa-4096", 4096, nullptr},
    {KeyType::kEcdsaP256, "ecdsa-p256", 0, "P-256"},
    {KeyType::kEcdsaP384, "ecdsa-p384", 0, "P-384"},
}};

// A key of ours in PEM has less than 4 KiB.
constexpr size_t kMaxKeyTextBytes = 1 << 20;

const KeyTypeRow& Row(KeyType type) {
  for (const KeyTypeRow& row : kKeyTypes) {
    if (row.type == type) {
      return row;
    }
  }
  return kKeyTypes.front();
}

struct Pkcs8Free {
  void operator()(PKCS8_PRIV_KEY_INFO* info) const { PKCS8_PRIV_KEY_INFO_free(info); }
};

// Decodes a whole block: bytes left over are an error, as in every other text of ours.
PkeyPtr DecodeBlock(const PemBlock& block) {
  const std::string_view der = block.body.Reveal();
  const unsigned char* at = Bytes(der);
  const unsigned char* const end = at + der.size();
  const long size = static_cast<long>(der.size());
  PkeyPtr key;
  if (block.label == "PRIVATE KEY") {
    const std::unique_ptr<PKCS8_PRIV_KEY_INFO, Pkcs8Free> info(
        d2i_PKCS8_PRIV_KEY_INFO(nullptr, &at, size));
    key.reset(info == nullptr ? nullptr : EVP_PKCS82PKEY(info.get()));
  } else {
    const int type = block.label == "RSA PRIVATE KEY" ? EVP_PKEY_RSA : EVP_PKEY_EC;
    key.reset(d2i_PrivateKey(type, nullptr, &at, size));
  }
  return at == end ? std::move(key) : nullptr;
}

// Whether what one half signs the other verifies. Catches files put together from two keys.
bool HalvesBelongTogether(EVP_PKEY* private_key, EVP_PKEY* public_key) {
  constexpr std::string_view kMessage = "capstan";
  const MdCtxPtr signing(EVP_MD_CTX_new());
  const MdCtxPtr verifying(EVP_MD_CTX_new());
  std::string signature(EVP_PKEY_get_size(private_key), '\0');
  size_t size = signature.size();
  return EVP_DigestSignInit(signing.get(), nullptr, EVP_sha256(), nullptr, private_key) == 1 &&
         EVP_DigestSign(signing.get(), MutableBytes(signature), &size, Bytes(kMessage),
                        kMessage.size()) == 1 &&
         EVP_DigestVerifyInit(verifying.get(), nullptr, EVP_sha256(), nullptr, public_key) == 1 &&
         EVP_DigestVerify(verifying.get(), Bytes(signature), size, Bytes(kMessage),
                          kMessage.size()) == 1;
}

bool IsPrivateKeyLabel(std::string_view label) {
  return label == "PRIVATE KEY" || label == "RSA PRIVATE KEY" || label == "EC PRIVATE KEY";
}

}  // namespace

std::string_view KeyTypeName(KeyType type) {
  return Row(type).name;
}

absl::StatusOr<KeyType> ParseKeyType(std::string_view name) {
  std::string known;
  for (const KeyTypeRow& row : kKeyTypes) {
    if (row.name == name) {
      return row.type;
    }
    absl::StrAppend(&known, known.empty() ? "" : ", ", row.name);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", name, "\" is no key type; use one of ", known));
}

absl::StatusOr<PrivateKey> PrivateKey::Adopt(std::shared_ptr<EVP_PKEY> key) {
  unsigned char* der = nullptr;
  const int size = i2d_PUBKEY(key.get(), &der);
  if (size <= 0) {
    return OpenSslError(absl::StatusCode::kInvalidArgument, "the key has no public half");
  }
  auto public_key =
      PublicKey::ParseSpki(std::string_view(reinterpret_cast<const char*>(der), size));
  OPENSSL_free(der);
  CAPSTAN_RETURN_IF_ERROR(public_key.status());
  CAPSTAN_RETURN_IF_ERROR(public_key->CheckAcceptable());
  return PrivateKey(std::move(key), *std::move(public_key));
}

absl::StatusOr<PrivateKey> PrivateKey::Generate(KeyType type) {
  const KeyTypeRow& row = Row(type);
  std::shared_ptr<EVP_PKEY> key(
      row.rsa_bits != 0
          ? EVP_PKEY_Q_keygen(nullptr, nullptr, "RSA", static_cast<size_t>(row.rsa_bits))
          : EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", row.group),
      EVP_PKEY_free);
  if (key == nullptr) {
    return OpenSslError(absl::StatusCode::kInternal,
                        absl::StrCat("a key of type ", row.name, " could not be made"));
  }
  return Adopt(std::move(key));
}

absl::StatusOr<PrivateKey> PrivateKey::ParsePem(std::string_view pem) {
  if (pem.size() > kMaxKeyTextBytes) {
    return absl::InvalidArgumentError("a private key has less than 1 MiB of text");
  }
  CAPSTAN_ASSIGN_OR_RETURN(std::vector<PemBlock> blocks, ScanPem(pem));
  for (const PemBlock& block : blocks) {
    const auto refuse = [&](std::string_view why) {
      return absl::InvalidArgumentError(
          absl::StrCat("the private key of line ", block.line, " ", why));
    };
    if (block.label == "ENCRYPTED PRIVATE KEY" ||
        (IsPrivateKeyLabel(block.label) && block.encrypted)) {
      return refuse("is encrypted: decrypt it first (openssl pkey -in KEY -out PLAIN)");
    }
    if (block.label == "OPENSSH PRIVATE KEY") {
      return refuse("is in OpenSSH's format: convert it (ssh-keygen -p -m PKCS8 -f KEY)");
    }
    if (!IsPrivateKeyLabel(block.label)) {
      continue;
    }
    if (!block.decoded.ok() || block.has_headers) {
      return refuse(block.has_headers ? "has PEM headers" : Std(block.decoded.message()));
    }
    PkeyPtr decoded = DecodeBlock(block);
    if (decoded == nullptr) {
      return OpenSslError(absl::StatusCode::kInvalidArgument,
                          absl::StrCat("the private key of line ", block.line, " does not decode"));
    }
    auto key = Adopt(std::shared_ptr<EVP_PKEY>(std::move(decoded)));
    if (!key.ok()) {
      return refuse(absl::StrCat("is refused: ", key.status().message()));
    }
    if (!HalvesBelongTogether(key->get(), key->public_key().get())) {
      return OpenSslError(
          absl::StatusCode::kInvalidArgument,
          absl::StrCat("the halves of the private key of line ", block.line, " do not match"));
    }
    return key;
  }
  return absl::InvalidArgumentError(
      "no private key: a block \"PRIVATE KEY\", \"RSA PRIVATE KEY\" or \"EC PRIVATE KEY\" is "
      "needed");
}

Secret PrivateKey::ToPkcs8Pem() const {
  PKCS8_PRIV_KEY_INFO* info = EVP_PKEY2PKCS8(key_.get());
  unsigned char* der = nullptr;
  const int size = i2d_PKCS8_PRIV_KEY_INFO(info, &der);
  PKCS8_PRIV_KEY_INFO_free(info);
  Secret pem(ToPemBlock("PRIVATE KEY", std::string_view(reinterpret_cast<const char*>(der), size)));
  OPENSSL_clear_free(der, size);
  return pem;
}

}  // namespace capstan::x509
