// The reports as JSON.
#include "oracle/report.h"

#include <numeric>

#include "oracle/json_line.h"

namespace weir::oracle {
namespace {

constexpr std::array<std::string_view, 4> kStatusNames = {"done", "stopped", "disconnected",
                                                          "stalled"};
constexpr std::array<std::string_view, 5> kOpNames = {"reads", "writes", "trims", "zeroes",
                                                      "flushes"};

std::string_view NameOf(Fault fault) { return kFaultNames[static_cast<size_t>(fault)]; }

std::string ListOf(const Findings& findings) {
  std::string list = "[";
  for (const Finding& finding : findings.first()) {
    if (list.size() > 1) list += ",";
    list += JsonLine()
                .Text("kind", NameOf(finding.kind))
                .Number("block", finding.block)
                .Text("expected", finding.expected)
                .Text("found", finding.found)
                .Done();
  }
  return list + "]";
}

void AddCounts(JsonLine& line, const Findings& findings) {
  for (size_t i = 0; i < kFaultNames.size(); ++i) {
    const auto fault = static_cast<Fault>(i);
    line.Number(fault == Fault::kPrefix ? "prefixViolations" : NameOf(fault),
                findings.Count(fault));
  }
}

uint64_t Sum(std::span<const uint64_t> numbers) {
  return std::accumulate(numbers.begin(), numbers.end(), uint64_t{0});
}

}  // namespace

std::string ToJson(const RunReport& report) {
  const uint64_t acked = Sum(report.acked);
  JsonLine line;
  line.Text("status", kStatusNames[static_cast<size_t>(report.status)])
      .Number("ops", Sum(report.submitted))
      .Number("acked", acked)
      .Number("flushesAcked", report.acked[static_cast<size_t>(Op::kFlush)])
      .Number("inFlight", report.in_flight)
      .Number("errors", report.errors)
      .Decimal("seconds", report.seconds)
      .Number("iops", static_cast<uint64_t>(
                          report.seconds > 0 ? static_cast<double>(acked) / report.seconds : 0));
  for (size_t i = 0; i < kOpNames.size(); ++i) line.Number(kOpNames[i], report.acked[i]);
  line.Raw("findings", ListOf(report.findings));
  AddCounts(line, report.findings);
  return line.Done();
}

std::string ToJson(const VerifyReport& report) {
  JsonLine line;
  line.Number("blocks", report.blocks)
      .Number("checked", report.checked)
      .Number("openOps", report.open_ops)
      .Bool("settled", report.settled)
      .Raw("findings", ListOf(report.findings));
  AddCounts(line, report.findings);
  return line.Done();
}

std::string ToJson(const PlantOptions& options, const Planted& planted) {
  return JsonLine()
      .Text("planted", NameOf(options.kind))
      .Number("block", planted.block)
      .Text("content", planted.content)
      .Done();
}

}  // namespace weir::oracle
