// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <map>
#include <memory>
#include <string>

namespace capstan {

// The gauges of one name whose labels come and go.
class GaugeSet {
 public:
  using Labels = std::map<std::string, std::string>;
  explicit GaugeSet(prometheus::Family<prometheus::Gauge>& family) : family_(family) {}
  // These are all there is from now on: others are no longer shown.
  void Set(const std::map<Labels, double>& values);

 private:
  prometheus::Family<prometheus::Gauge>& family_;
  std::map<Labels, prometheus::Gauge*> shown_;
};

// One program's metrics. Names carry their unit (…_seconds, …_total). Thread-safe.
class Metrics {
 public:
  using Labels = std::map<std::string, std::string>;

  Metrics();

  // The same name and labels give the same counter or gauge; it lives as long as this object.
  prometheus::Counter& Counter(const std::string& name, const std::string& help,
                               const Labels& labels = {});
  prometheus::Gauge& Gauge(const std::string& name, const std::string& help,
                           const Labels& labels = {});

  // A set of its own for each name. Its Set() is for one thread at a time.
  GaugeSet Gauges(const std::string& name, const std::string& help);

  // Prometheus' text exposition format, version 0.0.4.
  std::string Text() const;

 private:
  std::shared_ptr<prometheus::Registry> registry_;
};

}  // namespace capstan
