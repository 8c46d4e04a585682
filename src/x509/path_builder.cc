// SPDX-License-Identifier: Apache-2.0
#include "x509/path_builder.h"

#include <algorithm>

#include "x509/openssl.h"

namespace capstan::x509 {
namespace {

// Real chains have two to four certificates and cross-signed ones a handful of paths.
constexpr size_t kMaxPathLength = 10;
constexpr int kMaxSignatureChecks = 100;
constexpr size_t kMaxPaths = 16;

using NamePtr = std::unique_ptr<X509_NAME, Deleter<X509_NAME_free>>;

bool Holds(const Path& path, const Certificate& certificate) {
  return std::any_of(path.begin(), path.end(),
                     [&](const PathLink& link) { return link.certificate == certificate; });
}

class Search {
 public:
  Search(const std::vector<Certificate>& presented, const std::vector<Certificate>& roots) {
    for (const Certificate& root : roots) {
      AddCandidate({root, PositionOf(presented, root), /*is_root=*/true});
    }
    for (size_t i = 1; i < presented.size(); ++i) {
      AddCandidate({presented[i], static_cast<int>(i), /*is_root=*/false});
    }
    Path path{{presented.front(), 0, Contains(roots, presented.front())}};
    Extend(path);
    std::stable_sort(found_.complete.begin(), found_.complete.end(),
                     [](const Path& a, const Path& b) { return a.size() < b.size(); });
  }

  Paths Take() { return std::move(found_); }

 private:
  static bool Contains(const std::vector<Certificate>& list, const Certificate& certificate) {
    return std::find(list.begin(), list.end(), certificate) != list.end();
  }
  static int PositionOf(const std::vector<Certificate>& presented, const Certificate& certificate) {
    const auto found = std::find(presented.begin(), presented.end(), certificate);
    return found == presented.end() ? -1 : static_cast<int>(found - presented.begin());
  }

  // Roots first, and each certificate once: duplicates are normal in bundles.
  void AddCandidate(PathLink link) {
    if (!Holds(candidates_, link.certificate)) {
      candidates_.push_back(std::move(link));
    }
  }

  bool BudgetLeft() {
    const bool left = checks_ < kMaxSignatureChecks && found_.complete.size() < kMaxPaths;
    gave_up_ |= !left;
    return left;
  }

  void Extend(Path& path) {
    if (path.back().is_root) {
      found_.complete.push_back(path);
      return;
    }
    DeadEnd end;
    bool extended = false;
    for (const PathLink& candidate : candidates_) {
      if (path.size() >= kMaxPathLength || !BudgetLeft()) {
        break;
      }
      if (Holds(path, candidate.certificate) ||
          !SameName(path.back().certificate.issuer_der(), candidate.certificate.subject_der())) {
        continue;
      }
      ++checks_;
      if (!path.back().certificate.IsSignedBy(candidate.certificate.public_key())) {
        end.namesakes.push_back(candidate.certificate);
        continue;
      }
      extended = true;
      path.push_back(candidate);
      Extend(path);
      path.pop_back();
    }
    if (!extended && path.size() > found_.longest.path.size()) {
      end.path = path;
      end.gave_up = gave_up_;
      found_.longest = std::move(end);
    }
  }

  Path candidates_;
  Paths found_;
  int checks_ = 0;
  bool gave_up_ = false;
};

}  // namespace

bool SameName(const std::string& a_der, const std::string& b_der) {
  if (a_der == b_der) {
    return true;
  }
  const NamePtr a = Decode<NamePtr, d2i_X509_NAME>(a_der);
  const NamePtr b = Decode<NamePtr, d2i_X509_NAME>(b_der);
  return a != nullptr && b != nullptr && X509_NAME_cmp(a.get(), b.get()) == 0;
}

Paths FindPaths(const std::vector<Certificate>& presented, const std::vector<Certificate>& roots) {
  return Search(presented, roots).Take();
}

}  // namespace capstan::x509
