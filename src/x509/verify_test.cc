// SPDX-License-Identifier: Apache-2.0
#include "x509/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "x509/test_openssl.h"
#include "x509/test_pki.h"

namespace capstan::x509 {
namespace {

using testing::Ca;
using testing::CaOptions;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Leaf;
using testing::MakeIntermediate;
using testing::MakeLeaf;
using testing::MakeRoot;
using testing::Now;
using testing::Workshop;

using Chain = std::vector<Certificate>;

// A two-level CA as Istio's makefile lays it out, and a leaf.
struct World {
  Ca root = MakeRoot();
  Ca intermediate = MakeIntermediate(root, {.common_name = "Intermediate CA", .path_length = 0});
  Leaf leaf = MakeLeaf(intermediate);
  Chain presented{leaf.certificate, intermediate.certificate};
  Chain roots{root.certificate};
};

// The verdict's invariants, and its failing step ("" where there is none).
std::string FailureOf(const Verdict& verdict) {
  EXPECT_FALSE(verdict.steps.empty());
  for (size_t i = 0; i + 1 < verdict.steps.size(); ++i) {
    EXPECT_TRUE(verdict.steps[i].ok) << verdict.steps[i].text;
  }
  const VerifyStep& last = verdict.steps.back();
  EXPECT_EQ(last.ok, verdict.status.ok());
  EXPECT_EQ(verdict.chain.empty(), !last.ok);
  if (last.ok) {
    return "";
  }
  EXPECT_EQ(verdict.status.message(), last.text);
  return absl::StrCat(last.position, ": ", last.text);
}

std::string Failure(const Chain& presented, const Chain& roots, absl::Time now = Now(),
                    const VerifyOptions& options = {}) {
  return FailureOf(Verify(presented, roots, now, options));
}

TEST(VerifyTest, ExplainsEveryStepOfAGoodChain) {
  const World world;
  const Verdict verdict =
      Verify(world.presented, world.roots, Now(), {.purpose = Purpose::kServer});
  EXPECT_EQ(FailureOf(verdict), "");
  EXPECT_THAT(verdict.chain, ElementsAre(world.leaf.certificate, world.intermediate.certificate,
                                         world.root.certificate));
  std::string all;
  for (const VerifyStep& step : verdict.steps) {
    absl::StrAppend(&all, step.position, " ", step.text, "\n");
  }
  EXPECT_THAT(all,
              HasSubstr("0 certificate 0 (spiffe://cluster.local/ns/default/sa/httpbin) names "
                        "CN=Intermediate CA,O=Istio as its issuer and is signed by certificate "
                        "1 (CN=Intermediate CA,O=Istio); the key ids agree"));
  EXPECT_THAT(all, HasSubstr("is self-signed and in the bundle"));
  EXPECT_THAT(all, HasSubstr("is valid from 2025-06-15"));
  EXPECT_THAT(all, HasSubstr("with at most 0 intermediates below (0 here)"));
  EXPECT_THAT(all, HasSubstr("may be used as a TLS server"));
}

TEST(VerifyTest, RootsOfEqualNamesInAnyOrder) {
  const World a;
  const World b;
  ASSERT_EQ(a.root.certificate.subject_der(), b.root.certificate.subject_der());
  const Certificate& ra = a.root.certificate;
  const Certificate& rb = b.root.certificate;
  for (const Chain& roots : {Chain{ra, rb}, Chain{rb, ra}, Chain{ra, rb, rb}, Chain{rb, rb, ra}}) {
    EXPECT_EQ(Failure(a.presented, roots), "");
    EXPECT_EQ(Failure(b.presented, roots), "");
  }
  EXPECT_THAT(Failure(a.presented, {rb}),
              HasSubstr("no certificate of that name made its signature"));
  EXPECT_THAT(Failure(a.presented, {rb}), HasSubstr("the right issuer is missing"));
}

TEST(VerifyTest, RootsOfEqualNamesWithoutKeyIds) {
  // Made by OpenSSL as its 1.1 did: no SKI, no AKI, the same name. Only the signature tells.
  const Workshop workshop;
  workshop.Write("ca.conf",
                 "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign\n"
                 "subjectKeyIdentifier=none\nauthorityKeyIdentifier=none\n");
  workshop.Write("leaf.conf",
                 "subjectAltName=URI:spiffe://td/a\nsubjectKeyIdentifier=none\n"
                 "authorityKeyIdentifier=none\n");
  Chain roots;
  std::vector<Chain> leaves;
  for (const std::string name : {"a", "b"}) {
    workshop.OpenSsl("req -new -newkey rsa:2048 -nodes -subj '/CN=Root CA' -keyout " + name +
                     ".key -out r.csr");
    workshop.OpenSsl("x509 -req -in r.csr -signkey " + name +
                     ".key -days 9 -extfile ca.conf -out " + name + ".pem");
    workshop.OpenSsl("req -new -newkey rsa:2048 -nodes -subj /CN=leaf -keyout l.key -out l.csr");
    workshop.OpenSsl("x509 -req -in l.csr -CA " + name + ".pem -CAkey " + name +
                     ".key -set_serial 5 -days 9 -extfile leaf.conf -out leaf.pem");
    roots.push_back(ParsePemCertificates(workshop.Read(name + ".pem")).value().front());
    leaves.push_back(ParsePemCertificates(workshop.Read("leaf.pem")).value());
    ASSERT_EQ(leaves.back().front().authority_key_id(), "");
  }
  const absl::Time now = leaves.back().front().not_before() + absl::Hours(1);
  for (const Chain& order : {roots, Chain{roots[1], roots[0]}}) {
    EXPECT_EQ(Failure(leaves[0], order, now), "");
    EXPECT_EQ(Failure(leaves[1], order, now), "");
  }
}

TEST(VerifyTest, ExtraCertificatesInAnyOrder) {
  const World world;
  const World other;
  Chain presented = {other.intermediate.certificate, world.root.certificate,
                     world.intermediate.certificate, world.intermediate.certificate,
                     other.leaf.certificate};
  std::sort(presented.begin(), presented.end(),
            [](const auto& x, const auto& y) { return x.der() < y.der(); });
  do {
    Chain whole = presented;
    whole.insert(whole.begin(), world.leaf.certificate);
    const Verdict verdict = Verify(whole, world.roots, Now());
    EXPECT_EQ(FailureOf(verdict), "");
    EXPECT_EQ(verdict.chain.size(), 3u);
  } while (std::next_permutation(presented.begin(), presented.end(),
                                 [](const auto& x, const auto& y) { return x.der() < y.der(); }));
}

TEST(VerifyTest, ARootIssuesAndIsItsOwnLeaf) {
  const Ca root = MakeRoot();
  EXPECT_EQ(Failure({MakeLeaf(root).certificate}, {root.certificate}), "");
  EXPECT_EQ(Failure({root.certificate}, {root.certificate}), "");
}

TEST(VerifyTest, MakefileMaterialVerifies) {
  const Workshop workshop;
  workshop.Write("root.conf",
                 "[req]\nencrypt_key=no\nprompt=no\nutf8=yes\ndefault_md=sha256\nreq_extensions=e\n"
                 "x509_extensions=e\ndistinguished_name=d\n[e]\nsubjectKeyIdentifier=hash\n"
                 "basicConstraints=critical,CA:true\nkeyUsage=critical,digitalSignature,"
                 "nonRepudiation,keyEncipherment,keyCertSign\n[d]\nO=Istio\nCN=Root CA\n");
  workshop.Write("int.conf",
                 "[req]\nencrypt_key=no\nprompt=no\nutf8=yes\ndefault_md=sha256\nreq_extensions=e\n"
                 "x509_extensions=e\ndistinguished_name=d\n[e]\nsubjectKeyIdentifier=hash\n"
                 "basicConstraints=critical,CA:true,pathlen:0\nkeyUsage=critical,digitalSignature,"
                 "nonRepudiation,keyEncipherment,keyCertSign\nsubjectAltName=@san\n[san]\n"
                 "DNS.1=istiod.istio-system.svc\n[d]\nO=Istio\nCN=Intermediate CA\n"
                 "L=intermediateA\n");
  workshop.OpenSsl(
      "req -sha256 -new -newkey rsa:2048 -keyout root.key -config root.conf -out r.csr");
  workshop.OpenSsl(
      "x509 -req -sha256 -days 3650 -signkey root.key -extensions e -extfile root.conf -in r.csr "
      "-out root.pem");
  workshop.OpenSsl("req -sha256 -new -newkey rsa:2048 -keyout int.key -config int.conf -out i.csr");
  workshop.OpenSsl(
      "x509 -req -sha256 -days 3650 -CA root.pem -CAkey root.key -CAcreateserial -extensions e "
      "-extfile int.conf -in i.csr -out int.pem");
  const Certificate root = ParsePemCertificates(workshop.Read("root.pem")).value().front();
  const Certificate intermediate = ParsePemCertificates(workshop.Read("int.pem")).value().front();
  const PrivateKey key = PrivateKey::ParsePem(workshop.Read("int.key")).value();
  const absl::Time now = intermediate.not_before() + absl::Hours(1);
  const Certificate leaf =
      MakeLeaf(Ca{key, intermediate, NewSigner(key).value()},
               {.not_before = now - absl::Minutes(2), .not_after = now + absl::Hours(1)})
          .certificate;
  EXPECT_EQ(root.authority_key_id(), "");
  EXPECT_EQ(intermediate.Subject(), "CN=Intermediate CA,O=Istio,L=intermediateA");
  EXPECT_EQ(Failure({leaf, intermediate}, {root}, now, {.purpose = Purpose::kServer}), "");
  EXPECT_TRUE(
      VerifySvid({leaf, intermediate}, {root}, now, {.purpose = Purpose::kClient}).status.ok());
}

TEST(VerifyTest, AMissingIssuerIsNamed) {
  const World world;
  EXPECT_THAT(
      Failure({world.leaf.certificate}, world.roots),
      HasSubstr("0: certificate 0 (spiffe://cluster.local/ns/default/sa/httpbin) names "
                "\"CN=Intermediate CA,O=Istio\" as its issuer, and neither the chain nor the "
                "bundle has"));
  const Ca stranger = MakeRoot({.common_name = "Stranger"});
  EXPECT_THAT(
      Failure({MakeLeaf(stranger).certificate, stranger.certificate}, world.roots),
      HasSubstr("self-signed root that is not in the bundle: the bundle trusts CN=Root CA"));
  EXPECT_THAT(Failure({}, world.roots), HasSubstr("no certificate was presented"));
  EXPECT_THAT(Failure(world.presented, {}), HasSubstr("the bundle has no root"));
}

TEST(VerifyTest, TheClockIsNowAlone) {
  const World world;
  const Certificate& leaf = world.leaf.certificate;
  EXPECT_EQ(Failure(world.presented, world.roots, leaf.not_before()), "");
  EXPECT_EQ(Failure(world.presented, world.roots, leaf.not_after() - absl::Seconds(1)), "");
  EXPECT_THAT(Failure(world.presented, world.roots, leaf.not_before() - absl::Seconds(1)),
              HasSubstr("0: certificate 0 (spiffe://cluster.local/ns/default/sa/httpbin) is not "
                        "valid before"));
  EXPECT_THAT(Failure(world.presented, world.roots, leaf.not_after()), HasSubstr("expired at"));
  EXPECT_THAT(Failure(world.presented, world.roots, absl::InfiniteFuture()), HasSubstr("expired"));
  EXPECT_THAT(Failure(world.presented, world.roots, absl::InfinitePast()),
              HasSubstr("not valid before"));
}

TEST(VerifyTest, AnExpiredRootDoesNotAnchor) {
  const Ca root = MakeRoot({.not_after = Now() - absl::Seconds(1)});
  EXPECT_THAT(Failure({MakeLeaf(root).certificate}, {root.certificate}),
              HasSubstr("replace the root"));
}

// Istiod renews its self-signed root with the same key: either certificate anchors while it is
// valid.
TEST(VerifyTest, ARenewedRootOfTheSameKeyAnchors) {
  const Ca old = MakeRoot({.not_after = Now() - absl::Seconds(1)});
  const Certificate renewed = SelfSign(testing::CaTemplate({}, true), *old.signer).value();
  const Certificate leaf = MakeLeaf(old).certificate;
  for (const Chain& roots : {Chain{old.certificate, renewed}, Chain{renewed, old.certificate}}) {
    const Verdict verdict = Verify({leaf}, roots, Now());
    EXPECT_EQ(FailureOf(verdict), "");
    EXPECT_EQ(verdict.chain.back(), renewed);
  }
}

TEST(VerifyTest, CrossSignedRootsAnchorEitherWay) {
  const Ca a = MakeRoot({.common_name = "A"});
  const Ca b = MakeRoot({.common_name = "B"});
  const Certificate b_by_a = SignCertificate(testing::CaTemplate({.common_name = "B"}, false),
                                             b.key.public_key(), a.certificate, *a.signer)
                                 .value();
  const Certificate leaf = MakeLeaf(b).certificate;
  EXPECT_EQ(Failure({leaf, b_by_a}, {a.certificate}), "");
  EXPECT_EQ(Failure({leaf, b_by_a}, {b.certificate}), "");
  EXPECT_EQ(Verify({leaf, b_by_a}, {a.certificate, b.certificate}, Now()).chain.size(), 2u);
}

TEST(VerifyTest, AnIntermediateDoesNotAnchor) {
  const World world;
  EXPECT_THAT(Failure({world.leaf.certificate}, {world.intermediate.certificate}),
              HasSubstr("is in the bundle but is not self-signed"));
}

TEST(VerifyTest, OnlyCasSign) {
  const Ca root = MakeRoot();
  const auto failure_with = [&](const CaOptions& options) {
    const Ca intermediate = MakeIntermediate(root, options);
    return Failure({MakeLeaf(intermediate).certificate, intermediate.certificate},
                   {root.certificate});
  };
  EXPECT_THAT(failure_with({.common_name = "I", .ca = false}),
              HasSubstr("1: certificate 1 (CN=I,O=Istio) signs certificates but is no CA"));
  EXPECT_THAT(failure_with({.common_name = "I", .key_usage = kDigitalSignature}),
              HasSubstr("keyCertSign is missing"));
  EXPECT_EQ(failure_with({.common_name = "I", .authority_key_id = false}), "");
  const Ca bad_root = MakeRoot({.ca = false});
  EXPECT_THAT(Failure({MakeLeaf(bad_root).certificate}, {bad_root.certificate}),
              HasSubstr("is no CA"));
}

TEST(VerifyTest, PathLengthsHold) {
  const Ca root = MakeRoot({.path_length = 1});
  const Ca first = MakeIntermediate(root, {.common_name = "I1"});
  const Ca second = MakeIntermediate(first, {.common_name = "I2"});
  EXPECT_EQ(Failure({MakeLeaf(first).certificate, first.certificate}, {root.certificate}), "");
  EXPECT_THAT(Failure({MakeLeaf(second).certificate, second.certificate, first.certificate},
                      {root.certificate}),
              HasSubstr("allows 1 intermediates below itself, and there are 2"));
}

TEST(VerifyTest, PurposesHold) {
  const Ca root = MakeRoot();
  CertificateTemplate to_sign;
  to_sign.serial = testing::NextSerial();
  to_sign.subject.attributes = {{"CN", "x"}};
  to_sign.not_before = Now();
  to_sign.not_after = Now() + absl::Hours(1);
  to_sign.extensions.extended_key_usage = {"clientAuth"};
  const PublicKey key = PrivateKey::Generate(KeyType::kEcdsaP256).value().public_key();
  const Certificate client = SignCertificate(to_sign, key, root.certificate, *root.signer).value();
  EXPECT_EQ(Failure({client}, {root.certificate}, Now(), {.purpose = Purpose::kClient}), "");
  EXPECT_EQ(Failure({client}, {root.certificate}), "");
  EXPECT_THAT(Failure({client}, {root.certificate}, Now(), {.purpose = Purpose::kServer}),
              HasSubstr("serverAuth is missing in its extended key usage (clientAuth)"));
  to_sign.extensions.extended_key_usage.clear();
  to_sign.extensions.key_usage = {.bits = kNonRepudiation};
  const Certificate odd = SignCertificate(to_sign, key, root.certificate, *root.signer).value();
  EXPECT_THAT(Failure({odd}, {root.certificate}, Now(), {.purpose = Purpose::kServer}),
              HasSubstr("not for TLS"));
}

TEST(VerifyTest, WeakKeysAndDigestsAreRefused) {
  const Workshop workshop;
  workshop.Write("leaf.conf", "subjectAltName=DNS:x\n");
  const auto make = [&](const std::string& root, const std::string& leaf,
                        const std::string& digest) {
    workshop.OpenSsl("req -x509 -nodes -keyout k.pem -subj /CN=r -days 9 -out c.pem " + root);
    workshop.OpenSsl("req -new -nodes -keyout l.key -subj /CN=l -out l.csr " + leaf);
    workshop.OpenSsl(
        "x509 -req -in l.csr -CA c.pem -CAkey k.pem -set_serial 5 -days 9 -extfile "
        "leaf.conf -out l.pem -" +
        digest);
    const Certificate anchor = ParsePemCertificates(workshop.Read("c.pem")).value().front();
    return Failure(ParsePemCertificates(workshop.Read("l.pem")).value(), {anchor},
                   anchor.not_before() + absl::Hours(1));
  };
  EXPECT_EQ(make("-newkey rsa:2048 -sha1", "-newkey rsa:2048", "sha256"), "");  // the root's own
  EXPECT_THAT(make("-newkey rsa:2048", "-newkey rsa:2048", "sha1"), HasSubstr("SHA1-RSA"));
  EXPECT_THAT(make("-newkey rsa:2048", "-newkey rsa:1024", "sha256"), HasSubstr("RSA 1024"));
  EXPECT_THAT(make("-newkey rsa:1024", "-newkey rsa:2048", "sha256"), HasSubstr("RSA 1024"));
}

TEST(VerifyTest, OpenSslJudgesWhatIsNotExplained) {
  const Workshop workshop;
  workshop.OpenSsl(
      "req -x509 -newkey rsa:2048 -nodes -keyout k.pem -subj /CN=r -days 9 -out c.pem -addext "
      "'nameConstraints=critical,permitted;DNS:good.example'");
  const Certificate anchor = ParsePemCertificates(workshop.Read("c.pem")).value().front();
  const PrivateKey key = PrivateKey::ParsePem(workshop.Read("k.pem")).value();
  const Ca root{key, anchor, NewSigner(key).value()};
  const absl::Time now = anchor.not_before() + absl::Hours(1);
  const auto failure = [&](const std::string& dns) {
    const Leaf leaf = MakeLeaf(
        root, {.sans = {.dns = {dns}}, .not_before = now, .not_after = now + absl::Hours(1)});
    return Failure({leaf.certificate}, {anchor}, now);
  };
  EXPECT_EQ(failure("a.good.example"), "");
  EXPECT_THAT(failure("bad.example"), HasSubstr("OpenSSL says \"permitted subtree violation\""));
}

TEST(VerifyTest, AWrongAuthorityKeyIdIsNamed) {
  // An issuer of the same name and key whose certificate carries another key id.
  const Workshop workshop;
  workshop.OpenSsl("req -new -newkey rsa:2048 -nodes -keyout k.pem -subj /CN=r -out r.csr");
  workshop.Write("a.conf", "basicConstraints=critical,CA:true\nsubjectKeyIdentifier=0102\n");
  workshop.Write("b.conf", "basicConstraints=critical,CA:true\nsubjectKeyIdentifier=0304\n");
  for (const std::string name : {"a", "b"}) {
    workshop.OpenSsl("x509 -req -in r.csr -signkey k.pem -days 9 -extfile " + name + ".conf -out " +
                     name + ".pem");
  }
  const Certificate a = ParsePemCertificates(workshop.Read("a.pem")).value().front();
  const Certificate b = ParsePemCertificates(workshop.Read("b.pem")).value().front();
  const PrivateKey key = PrivateKey::ParsePem(workshop.Read("k.pem")).value();
  const absl::Time now = a.not_before() + absl::Hours(1);
  const Leaf leaf = MakeLeaf(Ca{key, a, NewSigner(key).value()},
                             {.not_before = now, .not_after = now + absl::Hours(1)});
  EXPECT_EQ(Failure({leaf.certificate}, {a}, now), "");
  EXPECT_EQ(Failure({leaf.certificate}, {b, a}, now), "");
  EXPECT_THAT(Failure({leaf.certificate}, {b}, now),
              HasSubstr("its authority key id 0102 names another key"));
}

TEST(VerifyTest, RevocationListsAreDemandedOfEveryCa) {
  constexpr uint32_t kUsage = kKeyCertSign | kCrlSign;
  const Ca root = MakeRoot({.key_usage = kUsage});
  const Ca intermediate = MakeIntermediate(root, {.common_name = "I", .key_usage = kUsage});
  const Leaf leaf = MakeLeaf(intermediate);
  const Chain presented{leaf.certificate, intermediate.certificate};
  const auto list = [](const Ca& ca, std::vector<SerialNumber> serials,
                       absl::Duration age = absl::ZeroDuration()) {
    CrlTemplate to_sign{.this_update = Now() - age, .next_update = Now() - age + absl::Hours(1)};
    for (SerialNumber& serial : serials) {
      to_sign.revoked.push_back({std::move(serial), Now() - absl::Hours(3)});
    }
    return SignCrl(to_sign, ca.certificate, *ca.signer).value();
  };
  const auto failure = [&](std::vector<Crl> crls) {
    return Failure(presented, {root.certificate}, Now(), {.crls = std::move(crls)});
  };
  const Crl root_list = list(root, {});
  EXPECT_EQ(failure({list(intermediate, {}), root_list}), "");
  EXPECT_THAT(failure({root_list}), HasSubstr("every CA of a chain needs one"));
  EXPECT_THAT(failure({list(intermediate, {})}),
              HasSubstr("no revocation list of root CN=Root CA"));
  EXPECT_THAT(failure({list(intermediate, {leaf.certificate.serial()}), root_list}),
              HasSubstr("is revoked by certificate 1"));
  EXPECT_THAT(failure({list(intermediate, {}), list(root, {intermediate.certificate.serial()})}),
              HasSubstr("1: certificate 1 (CN=I,O=Istio) (serial "));
  EXPECT_THAT(failure({list(intermediate, {}, absl::Hours(2)), root_list}),
              HasSubstr("publish a new one"));
  EXPECT_THAT(failure({list(intermediate, {}, -absl::Minutes(5)), root_list}),
              HasSubstr("every CA of a chain needs one"));  // its time has not come
}

TEST(VerifyTest, RevocationListsOfMakefileCasDoNotCount) {
  const Ca root = MakeRoot();  // no cRLSign
  const Crl crl = SignCrl({.this_update = Now(), .next_update = Now() + absl::Hours(1)},
                          root.certificate, *root.signer)
                      .value();
  EXPECT_THAT(Failure({MakeLeaf(root).certificate}, {root.certificate}, Now(), {.crls = {crl}}),
              HasSubstr("no cRLSign"));
}

TEST(VerifySvidTest, TheLeafIdentifiesOneWorkload) {
  const Ca root = MakeRoot();
  const auto failure = [&](const Certificate& leaf) {
    return FailureOf(VerifySvid({leaf}, {root.certificate}, Now()));
  };
  const auto with = [&](SubjectAltNames sans) {
    return failure(MakeLeaf(root, {.sans = std::move(sans)}).certificate);
  };
  EXPECT_EQ(with({.uris = {"spiffe://td/a"}}), "");
  EXPECT_EQ(with({.dns = {"b"}, .uris = {"spiffe://td/a"}}), "");
  EXPECT_THAT(with({.dns = {"b"}}), HasSubstr("exactly one URI SAN"));
  EXPECT_THAT(with({.uris = {"spiffe://td/a", "spiffe://td/b"}}), HasSubstr("has 2"));
  EXPECT_THAT(with({.uris = {"spiffe://td"}}), HasSubstr("has no path"));
  EXPECT_THAT(failure(root.certificate), HasSubstr("is a CA"));
  CertificateTemplate signs = testing::CaTemplate({.common_name = "W", .ca = false}, false);
  signs.extensions.sans.uris = {"spiffe://td/a"};
  EXPECT_THAT(
      failure(
          SignCertificate(signs, root.key.public_key(), root.certificate, *root.signer).value()),
      HasSubstr("may sign certificates"));
}

// What the openssl program says of the same files, over chains of every make.
RC_GTEST_PROP(VerifyProperty, AgreesWithOpenSsl, ()) {
  const auto any_ca = [](const std::string& name) {
    CaOptions options{.common_name = name};
    options.ca = *rc::gen::weightedElement<bool>({{15, true}, {1, false}});
    options.key_usage = *rc::gen::element<uint32_t>(kKeyCertSign, kKeyCertSign | kCrlSign,
                                                    kDigitalSignature | kKeyCertSign);
    options.not_after = Now() + absl::Hours(*rc::gen::weightedElement<int>({{15, 1000}, {1, -1}}));
    options.path_length =
        options.ca
            ? *rc::gen::weightedElement<std::optional<int>>({{4, std::nullopt}, {1, 0}, {1, 1}})
            : std::nullopt;
    options.authority_key_id = *rc::gen::arbitrary<bool>();
    return options;
  };
  const Ca root = MakeRoot(any_ca("R"));
  const Ca twin = MakeRoot(any_ca("R"));
  const Ca first = MakeIntermediate(root, any_ca("I"));
  const Ca second = MakeIntermediate(first, any_ca("J"));
  const bool deep = *rc::gen::arbitrary<bool>();
  const Leaf leaf = MakeLeaf(deep ? second : first);
  const Chain roots = *rc::gen::element(Chain{root.certificate, twin.certificate},
                                        Chain{twin.certificate, root.certificate},
                                        Chain{root.certificate}, Chain{twin.certificate});
  const Workshop workshop;
  workshop.Write("roots.pem", ToPem(roots));
  workshop.Write("chain.pem", ToPem({first.certificate, second.certificate}));
  workshop.Write("leaf.pem", leaf.certificate.ToPem());
  const bool accepted =
      workshop
          .Run(absl::StrCat("openssl verify -auth_level 2 -purpose sslserver -attime ",
                            absl::ToUnixSeconds(Now()),
                            " -CAfile roots.pem -untrusted chain.pem leaf.pem || true"))
          .find("leaf.pem: OK") != std::string::npos;
  const Verdict verdict = Verify({leaf.certificate, first.certificate, second.certificate}, roots,
                                 Now(), {.purpose = Purpose::kServer});
  RC_TAG(accepted);
  // Where it differs from OpenSSL it is OpenSSL that takes the first root of a name and gives up.
  const bool ambiguous = roots.size() == 2 && first.certificate.authority_key_id().empty();
  RC_ASSERT(verdict.status.ok() == accepted || (ambiguous && verdict.status.ok()));
}

}  // namespace
}  // namespace capstan::x509
