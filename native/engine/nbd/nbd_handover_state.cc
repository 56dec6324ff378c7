#include "engine/nbd/nbd_handover_state.h"

#include <cstring>

namespace weir {

void EncodeNbdHandover(const NbdConnection::Handover& from, std::vector<std::byte>& to) {
  const NbdHandoverHead head{.phase = static_cast<uint8_t>(from.negotiation.phase),
                             .no_zeroes = from.negotiation.no_zeroes,
                             .draining = from.draining,
                             .options = from.negotiation.options,
                             .skip_bytes = from.skip_bytes,
                             .input_bytes = from.input.size(),
                             .output_bytes = from.output.size()};
  const auto* bytes = reinterpret_cast<const std::byte*>(&head);
  to.insert(to.end(), bytes, bytes + sizeof(head));
  to.insert(to.end(), from.input.begin(), from.input.end());
  to.insert(to.end(), from.output.begin(), from.output.end());
}

std::optional<NbdConnection::Handover> DecodeNbdHandover(std::span<const std::byte>& bytes) {
  NbdHandoverHead head;
  const uint32_t magic = head.magic;
  if (bytes.size() < sizeof(head)) return std::nullopt;
  std::memcpy(&head, bytes.data(), sizeof(head));
  auto rest = bytes.subspan(sizeof(head));
  if (head.magic != magic || head.phase > static_cast<uint8_t>(NbdNegotiation::Phase::kClosed) ||
      head.input_bytes > rest.size() || head.output_bytes > rest.size() - head.input_bytes) {
    return std::nullopt;
  }
  const auto input = rest.first(head.input_bytes);
  const auto output = rest.subspan(head.input_bytes, head.output_bytes);
  bytes = rest.subspan(head.input_bytes + head.output_bytes);
  return NbdConnection::Handover{
      .negotiation = {.phase = static_cast<NbdNegotiation::Phase>(head.phase),
                      .no_zeroes = head.no_zeroes != 0,
                      .options = head.options},
      .draining = head.draining != 0,
      .skip_bytes = head.skip_bytes,
      .input = {input.begin(), input.end()},
      .output = {output.begin(), output.end()}};
}

}  // namespace weir
