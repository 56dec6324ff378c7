#include "engine/nbd/nbd_negotiation.h"

#include "engine/base/types.h"

namespace weir {
namespace {

using nbd::LoadBig;
using nbd::Option;
using nbd::OptionReply;

template <typename T>
void Append(std::vector<std::byte>& out, T value) {
  const size_t at = out.size();
  out.resize(at + sizeof(T));
  nbd::StoreBig(out.data() + at, value);
}

void AppendText(std::vector<std::byte>& out, std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  out.insert(out.end(), bytes.begin(), bytes.end());
}

void AppendReplyHeader(std::vector<std::byte>& out, Option option, OptionReply reply,
                       size_t data_bytes) {
  Append(out, nbd::kOptionReplyMagic);
  Append(out, static_cast<uint32_t>(option));
  Append(out, static_cast<uint32_t>(reply));
  Append(out, static_cast<uint32_t>(data_bytes));
}

void AppendError(std::vector<std::byte>& out, Option option, OptionReply error,
                 std::string_view sentence) {
  AppendReplyHeader(out, option, error, sentence.size());
  AppendText(out, sentence);
}

std::string_view TextOf(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The body of NBD_OPT_INFO and NBD_OPT_GO.
struct InfoQuery {
  bool valid = false;
  bool wants_name = false;
  std::string_view name;
};

InfoQuery ParseInfoQuery(std::span<const std::byte> data) {
  InfoQuery query;
  if (data.size() < sizeof(uint32_t) + sizeof(uint16_t)) return query;
  const uint32_t name_bytes = LoadBig<uint32_t>(data.data());
  if (name_bytes > nbd::kNameBytesMax ||
      name_bytes > data.size() - sizeof(uint32_t) - sizeof(uint16_t)) {
    return query;
  }
  query.name = TextOf(data.subspan(sizeof(uint32_t), name_bytes));
  const auto rest = data.subspan(sizeof(uint32_t) + name_bytes);
  const size_t count = LoadBig<uint16_t>(rest.data());
  if (rest.size() != sizeof(uint16_t) * (1 + count)) return query;
  for (size_t i = 1; i <= count; ++i) {
    const uint16_t info = LoadBig<uint16_t>(rest.data() + sizeof(uint16_t) * i);
    if (info == nbd::kInfoName) query.wants_name = true;
  }
  query.valid = true;
  return query;
}

}  // namespace

void NbdNegotiation::AppendGreeting(std::vector<std::byte>& out) {
  Append(out, nbd::kServerMagic);
  Append(out, nbd::kOptionMagic);
  Append<uint16_t>(out, nbd::kHandshakeFixedNewstyle | nbd::kHandshakeNoZeroes);
}

size_t NbdNegotiation::Consume(std::span<const std::byte> in, uint64_t size_bytes,
                               std::vector<std::byte>& out) {
  size_t taken = 0;
  while (phase_ == Phase::kClientFlags || phase_ == Phase::kOptions) {
    const auto rest = in.subspan(taken);
    const size_t step = phase_ == Phase::kClientFlags ? ConsumeClientFlags(rest)
                                                      : ConsumeOption(rest, size_bytes, out);
    if (step == 0) break;
    taken += step;
  }
  return taken;
}

size_t NbdNegotiation::ConsumeClientFlags(std::span<const std::byte> in) {
  if (in.size() < nbd::kClientFlagsBytes) return 0;
  const uint32_t flags = LoadBig<uint32_t>(in.data());
  constexpr uint32_t kKnown = nbd::kHandshakeFixedNewstyle | nbd::kHandshakeNoZeroes;
  // An unknown flag or an oldstyle client means that the two sides do not understand each other.
  const bool understood = (flags & ~kKnown) == 0 && (flags & nbd::kHandshakeFixedNewstyle) != 0;
  no_zeroes_ = (flags & nbd::kHandshakeNoZeroes) != 0;
  phase_ = understood ? Phase::kOptions : Phase::kClosed;
  return nbd::kClientFlagsBytes;
}

size_t NbdNegotiation::ConsumeOption(std::span<const std::byte> in, uint64_t size_bytes,
                                     std::vector<std::byte>& out) {
  if (in.size() < nbd::kOptionHeaderBytes) return 0;
  const auto option = static_cast<Option>(LoadBig<uint32_t>(in.data() + 8));
  const uint32_t length = LoadBig<uint32_t>(in.data() + 12);
  if (LoadBig<uint64_t>(in.data()) != nbd::kOptionMagic || length > kOptionDataBytesMax ||
      options_ == kOptionsMax) {
    phase_ = Phase::kClosed;
    return nbd::kOptionHeaderBytes;
  }
  if (in.size() - nbd::kOptionHeaderBytes < length) return 0;
  ++options_;
  const auto data = in.subspan(nbd::kOptionHeaderBytes, length);
  switch (option) {
    case Option::kExportName:
      AnswerExportName(data, size_bytes, out);
      break;
    case Option::kAbort:
      AppendReplyHeader(out, option, OptionReply::kAck, 0);
      phase_ = Phase::kClosed;
      break;
    case Option::kList:
      AnswerList(data, out);
      break;
    case Option::kInfo:
    case Option::kGo:
      AnswerInfo(option, data, size_bytes, out);
      break;
    case Option::kStartTls:
    default:
      AppendError(out, option, OptionReply::kErrUnsupported, "this server lacks the option");
      break;
  }
  return nbd::kOptionHeaderBytes + length;
}

void NbdNegotiation::AnswerExportName(std::span<const std::byte> data, uint64_t size_bytes,
                                      std::vector<std::byte>& out) {
  // This oldest of options has no error answer: closing is how a wrong name is refused.
  if (!IsOurName(TextOf(data))) {
    phase_ = Phase::kClosed;
    return;
  }
  Append(out, size_bytes);
  Append(out, nbd::kTransmissionFlags);
  if (!no_zeroes_) out.resize(out.size() + nbd::kExportNameReplyZeroes);
  phase_ = Phase::kTransmission;
}

void NbdNegotiation::AnswerList(std::span<const std::byte> data,
                                std::vector<std::byte>& out) const {
  if (!data.empty()) {
    AppendError(out, Option::kList, OptionReply::kErrInvalid, "NBD_OPT_LIST carries no data");
    return;
  }
  AppendReplyHeader(out, Option::kList, OptionReply::kServer,
                    sizeof(uint32_t) + export_name_.size());
  Append(out, static_cast<uint32_t>(export_name_.size()));
  AppendText(out, export_name_);
  AppendReplyHeader(out, Option::kList, OptionReply::kAck, 0);
}

void NbdNegotiation::AnswerInfo(Option option, std::span<const std::byte> data, uint64_t size_bytes,
                                std::vector<std::byte>& out) {
  const InfoQuery query = ParseInfoQuery(data);
  if (!query.valid) {
    AppendError(out, option, OptionReply::kErrInvalid, "the lengths in the option disagree");
    return;
  }
  if (!IsOurName(query.name)) {
    AppendError(out, option, OptionReply::kErrUnknownExport, "there is no export of this name");
    return;
  }
  AppendReplyHeader(out, option, OptionReply::kInfo, 12);
  Append(out, nbd::kInfoExport);
  Append(out, size_bytes);
  Append(out, nbd::kTransmissionFlags);
  // Said even to clients that did not ask: a request that is not a multiple of a block is refused.
  AppendReplyHeader(out, option, OptionReply::kInfo, 14);
  Append(out, nbd::kInfoBlockSize);
  Append<uint32_t>(out, kBlockBytes);
  Append<uint32_t>(out, kBlockBytes);
  Append(out, nbd::kPayloadBytesMax);
  if (query.wants_name) {
    AppendReplyHeader(out, option, OptionReply::kInfo, sizeof(uint16_t) + export_name_.size());
    Append(out, nbd::kInfoName);
    AppendText(out, export_name_);
  }
  AppendReplyHeader(out, option, OptionReply::kAck, 0);
  if (option == Option::kGo) phase_ = Phase::kTransmission;
}

}  // namespace weir
