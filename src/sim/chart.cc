// SPDX-License-Identifier: Apache-2.0
#include "sim/chart.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace capstan::sim {
namespace {

constexpr double kWidth = 900;
constexpr double kHeight = 240;
constexpr double kLeft = 70;
constexpr double kTop = 50;
constexpr double kGap = 70;
// Told apart by people who see colours differently, and by their dashes.
constexpr const char* kColours[kRoots] = {"#0072b2", "#d55e00", "#009e73"};
constexpr const char* kDashes[kRoots] = {"none", "8 3", "2 3"};

class Chart {
 public:
  explicit Chart(const Result& result) : result_(result) {
    for (const Result::Sample& sample : result.samples) {
      most_ = std::max(most_, sample.census.live);
      end_ = std::max(end_, sample.at);
    }
  }

  double X(absl::Duration at) const {
    return kLeft + (kWidth - kLeft - 20) * absl::FDivDuration(at, end_);
  }
  double Y(double top, int64_t n) const {
    return top + kHeight - kHeight * static_cast<double>(n) / static_cast<double>(most_);
  }

  std::string Panel(double top, const char* title,
                    const int64_t (Checker::Census::*what)[kRoots]) const {
    std::string svg = absl::StrFormat(
        "<text x='%g' y='%g' font-weight='bold'>%s</text>\n"
        "<path d='M%g %g V%g H%g' fill='none' stroke='#444'/>\n"
        "<text x='%g' y='%g' text-anchor='end'>%d</text>\n"
        "<text x='%g' y='%g' text-anchor='end'>0</text>\n",
        kLeft, top - 10, title, kLeft, top, top + kHeight, kWidth - 20, kLeft - 6, top + 5, most_,
        kLeft - 6, top + kHeight + 4);
    for (int root = 0; root < kRoots; ++root) {
      std::string path;
      bool any = false;
      for (const Result::Sample& sample : result_.samples) {
        const int64_t n = (sample.census.*what)[root];
        any |= n > 0;
        absl::StrAppendFormat(&path, "%s%.1f %.1f", path.empty() ? "M" : " L", X(sample.at),
                              Y(top, n));
      }
      if (!any) continue;
      absl::StrAppendFormat(
          &svg, "<path d='%s' fill='none' stroke='%s' stroke-width='2' stroke-dasharray='%s'/>\n",
          path, kColours[root], kDashes[root]);
    }
    return svg;
  }

  std::string Phases(double bottom) const {
    std::string svg;
    std::string last;
    for (const Result::Sample& sample : result_.samples) {
      if (sample.phase == last) continue;
      last = sample.phase;
      absl::StrAppendFormat(&svg,
                            "<path d='M%.1f %g V%g' stroke='#999' stroke-dasharray='3 3'/>\n"
                            "<text x='%.1f' y='%g' fill='#444' font-size='11'>%s</text>\n",
                            X(sample.at), kTop, bottom, X(sample.at) + 3, bottom + 14, last);
    }
    return svg;
  }

  absl::Duration end() const { return end_; }

 private:
  const Result& result_;
  int64_t most_ = 1;
  absl::Duration end_ = absl::Minutes(1);
};

}  // namespace

std::string ToSvg(const Options& options, const Result& result) {
  const Chart chart(result);
  const double second = kTop + kHeight + kGap;
  const double bottom = second + kHeight;
  std::string svg = absl::StrFormat(
      "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %g %g' width='%g' height='%g' "
      "font-family='sans-serif' font-size='13'>\n"
      "<title>%d workloads, %s, seed %d</title>\n<rect width='100%%' height='100%%' "
      "fill='#fff'/>\n",
      kWidth, bottom + 60, kWidth, bottom + 60, options.workloads,
      absl::FormatDuration(result.ended), options.seed);
  absl::StrAppend(
      &svg, chart.Panel(kTop, "live workloads that trust", &Checker::Census::trusting),
      chart.Panel(second, "live workloads that show a leaf under", &Checker::Census::showing),
      chart.Phases(bottom));
  for (int root = 0; root < kRoots; ++root) {
    const double x = kLeft + 90 * root;
    absl::StrAppendFormat(
        &svg,
        "<path d='M%g 18 h30' stroke='%s' stroke-width='2' stroke-dasharray='%s'/>"
        "<text x='%g' y='22'>root %c</text>\n",
        x, kColours[root], kDashes[root], x + 36, 'A' + root);
  }
  absl::StrAppendFormat(&svg,
                        "<text x='%g' y='%g' text-anchor='end'>%s after the first start</text>\n"
                        "</svg>\n",
                        kWidth - 20, bottom + 40, absl::FormatDuration(chart.end()));
  return svg;
}

}  // namespace capstan::sim
