// SPDX-License-Identifier: Apache-2.0
#include "x509/seal.h"

#include <gtest/gtest.h>

#include "absl/strings/escaping.h"
#include "base/strings.h"

namespace capstan::x509 {
namespace {

const Secret& Key() {
  static const Secret key(std::string(32, 'k'));
  return key;
}
constexpr std::string_view kNonce = "nonce-nonce!";

TEST(SealTest, OpensWhatItSealed) {
  for (const size_t size : {0, 1, 15, 16, 17, 5000}) {
    const Secret plain{std::string(size, 'p')};
    const auto sealed = Seal(Key(), kNonce, "authority/1", plain);
    ASSERT_TRUE(sealed.ok()) << sealed.status();
    EXPECT_EQ(sealed->size(), 12 + size + 16);
    const auto opened = Unseal(Key(), "authority/1", *sealed);
    ASSERT_TRUE(opened.ok()) << opened.status();
    EXPECT_TRUE(*opened == plain);
  }
}

// Computed with Go's crypto/cipher: the format can be read by others.
TEST(SealTest, IsPlainAesGcm) {
  const auto sealed = Seal(Key(), kNonce, "ctx", Secret("hello"));
  ASSERT_TRUE(sealed.ok());
  EXPECT_EQ(absl::BytesToHexString(*sealed),
            "6e6f6e63652d6e6f6e6365214d6cbd0b247e8a3325d0fd01bbaeb07d6862d70798");
}

TEST(SealTest, RefusesAnotherKeyContextOrBytes) {
  const std::string sealed = Seal(Key(), kNonce, "a", Secret("hello")).value();
  EXPECT_EQ(Unseal(Secret(std::string(32, 'x')), "a", sealed).status().code(),
            absl::StatusCode::kDataLoss);
  EXPECT_EQ(Unseal(Key(), "b", sealed).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Unseal(Key(), "", sealed).status().code(), absl::StatusCode::kDataLoss);
  for (size_t i = 0; i < sealed.size(); ++i) {
    std::string changed = sealed;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    EXPECT_EQ(Unseal(Key(), "a", changed).status().code(), absl::StatusCode::kDataLoss) << i;
    EXPECT_EQ(Unseal(Key(), "a", sealed.substr(0, i)).status().code(), absl::StatusCode::kDataLoss)
        << i;
  }
}

TEST(SealTest, RefusesKeysAndNoncesOfOtherSizes) {
  EXPECT_EQ(Seal(Secret("short"), kNonce, "", Secret("x")).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Seal(Key(), "short", "", Secret("x")).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Unseal(Secret(""), "", std::string(40, 'x')).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(Sha256Test, KnownDigests) {
  EXPECT_EQ(absl::BytesToHexString(Sha256("")),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(absl::BytesToHexString(Sha256("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace capstan::x509
