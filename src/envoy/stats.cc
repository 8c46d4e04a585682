// SPDX-License-Identifier: Apache-2.0
#include "envoy/stats.h"

#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/json.h"
#include "base/status.h"

namespace capstan::envoy {
namespace {

bool EndsWithName(std::string_view name, std::string_view suffix) {
  return absl::EndsWith(name, suffix) &&
         (name.size() == suffix.size() || name[name.size() - suffix.size() - 1] == '.');
}

// Reads one line of Prometheus' text format from left to right.
class LineReader {
 public:
  explicit LineReader(std::string_view line) : rest_(line) {}

  std::optional<Sample> Read() {
    Sample sample;
    sample.name = Name();
    if (sample.name.empty()) return std::nullopt;
    SkipBlanks();
    if (Take('{') && !ReadLabels(sample.labels)) return std::nullopt;
    SkipBlanks();
    const size_t end = std::min(rest_.find_first_of(" \t"), rest_.size());
    if (!ParseValue(rest_.substr(0, end), sample.value)) return std::nullopt;
    rest_.remove_prefix(end);
    SkipBlanks();
    int64_t timestamp;
    if (!rest_.empty() && !absl::SimpleAtoi(rest_, &timestamp)) return std::nullopt;
    return sample;
  }

 private:
  static bool ParseValue(std::string_view text, double& value) {
    if (text == "NaN") {
      value = std::nan("");
      return true;
    }
    return absl::SimpleAtod(text, &value);  // knows Inf
  }

  bool Take(char c) {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }

  void SkipBlanks() {
    while (Take(' ') || Take('\t')) {
    }
  }

  std::string Name() {
    size_t length = 0;
    while (length < rest_.size() &&
           (absl::ascii_isalnum(rest_[length]) || rest_[length] == '_' || rest_[length] == ':')) {
      ++length;
    }
    std::string name(rest_.substr(0, length));
    rest_.remove_prefix(length);
    return name;
  }

  // After "{": label="value", … }.
  bool ReadLabels(std::map<std::string, std::string>& labels) {
    while (true) {
      SkipBlanks();
      if (Take('}')) return true;
      std::string label = Name();
      SkipBlanks();
      if (label.empty() || !Take('=')) return false;
      SkipBlanks();
      std::optional<std::string> value = QuotedValue();
      if (!value) return false;
      labels[std::move(label)] = *std::move(value);
      SkipBlanks();
      if (Take(',')) continue;
      return Take('}');
    }
  }

  std::optional<std::string> QuotedValue() {
    if (!Take('"')) return std::nullopt;
    std::string value;
    while (!rest_.empty()) {
      const char c = rest_.front();
      rest_.remove_prefix(1);
      if (c == '"') return value;
      if (c != '\\') {
        value += c;
        continue;
      }
      if (rest_.empty()) return std::nullopt;
      value += rest_.front() == 'n' ? '\n' : rest_.front();
      rest_.remove_prefix(1);
    }
    return std::nullopt;
  }

  std::string_view rest_;
};

}  // namespace

absl::StatusOr<Counters> ParseStatsJson(std::string_view json) {
  CAPSTAN_ASSIGN_OR_RETURN(Json document, ParseJson(json, "Envoy's stats"));
  const Json* stats = Member(document, "stats");
  if (stats == nullptr || !stats->is_array()) {
    return absl::InvalidArgumentError(
        "Envoy's stats: no \"stats\" array; this reads the answer of /stats?format=json");
  }
  Counters counters;
  for (const Json& entry : *stats) {
    const Json* name = Member(entry, "name");
    const Json* value = Member(entry, "value");
    if (name != nullptr && name->is_string() && value != nullptr && value->is_number_unsigned()) {
      counters[name->get<std::string>()] = value->get<uint64_t>();
    }
  }
  return counters;
}

Counters Without(Counters counters, std::initializer_list<std::string_view> prefixes) {
  for (const std::string_view prefix : prefixes) {
    std::erase_if(counters, [&](const auto& entry) { return entry.first.starts_with(prefix); });
  }
  return counters;
}

uint64_t SumOf(const Counters& counters, std::string_view suffix) {
  uint64_t sum = 0;
  for (const auto& [name, value] : counters) {
    if (EndsWithName(name, suffix)) sum += value;
  }
  return sum;
}

TlsCounts CountTls(const Counters& counters, std::string_view prefix) {
  TlsCounts counts;
  for (const auto& [name, value] : counters) {
    if (!absl::StartsWith(name, prefix)) continue;
    if (EndsWithName(name, "ssl.handshake")) {
      counts.handshakes += value;
    } else if (EndsWithName(name, "ssl.session_reused")) {
      counts.resumed += value;
    } else if (EndsWithName(name, "ssl.connection_error")) {
      counts.connection_errors += value;
    } else if (absl::StrContains(name, ".ssl.fail_verify_")) {
      counts.verify_failures += value;
    } else if (absl::EndsWith(name, "_context_secrets_not_ready")) {
      counts.secrets_not_ready += value;
    }
  }
  return counts;
}

absl::StatusOr<std::vector<Sample>> ParsePrometheus(std::string_view text) {
  std::vector<Sample> samples;
  int number = 0;
  for (absl::string_view piece : absl::StrSplit(text, '\n')) {
    ++number;
    const std::string_view line = absl::StripAsciiWhitespace(Std(piece));
    if (line.empty() || line.front() == '#') continue;
    std::optional<Sample> sample = LineReader(line).Read();
    if (!sample) {
      return absl::InvalidArgumentError(absl::StrCat("Prometheus text, line ", number,
                                                     ": neither a comment nor a sample: \"",
                                                     absl::CEscape(line.substr(0, 80)), "\""));
    }
    samples.push_back(*std::move(sample));
  }
  return samples;
}

}  // namespace capstan::envoy
