// SPDX-License-Identifier: Apache-2.0
#include "keystore/sealed_keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/random.h"
#include "base/strings.h"

namespace capstan::keystore {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string NewPath() {
  return absl::StrCat(::testing::TempDir(), "/seal-", SystemRandom().Uuid());
}

class SealedKeysTest : public ::testing::Test {
 protected:
  absl::StatusOr<SealedKeys> Open(
      SealedKeys::IfMissing if_missing = SealedKeys::IfMissing::kCreate) {
    return SealedKeys::Open(path_, if_missing, SystemRandom());
  }
  const std::string path_ = NewPath();
  const trust::AuthorityId id_ = *trust::AuthorityId::Parse("aa01");
  const trust::AuthorityId other_ = *trust::AuthorityId::Parse("aa02");
};

TEST_F(SealedKeysTest, SealsAndOpensAcrossRestarts) {
  auto key = *x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256);
  std::string sealed = *Open()->Seal(id_, key, SystemRandom());
  EXPECT_THAT(sealed, Not(HasSubstr("PRIVATE")));
  auto again = Open(SealedKeys::IfMissing::kFail);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->Unseal(id_, sealed)->public_key(), key.public_key());
  EXPECT_EQ(again->Unseal(other_, sealed).status().code(), absl::StatusCode::kDataLoss);
  sealed.back() ^= 1;
  EXPECT_EQ(again->Unseal(id_, sealed).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(SealedKeysTest, ANewSealKeyIsPrivateAndNeverMadeOverALostOne) {
  EXPECT_EQ(Open(SealedKeys::IfMissing::kFail).status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(FileExists(path_));
  ASSERT_TRUE(Open().ok());
  struct stat st;
  ASSERT_EQ(stat(path_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
}

TEST_F(SealedKeysTest, BadFilesAreRefused) {
  ASSERT_TRUE(Open().ok());
  chmod(path_.c_str(), 0644);
  EXPECT_THAT(std::string(Open().status().message()), HasSubstr("chmod 600"));
  ASSERT_TRUE(WriteFileAtomically(path_, "short", 0600, Overwrite::kReplace).ok());
  EXPECT_EQ(Open().status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace capstan::keystore
