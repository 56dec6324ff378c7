#include "tests/support/nbd_client.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>

#include "engine/base/check.h"

namespace weir {

namespace {

template <typename T>
void Append(std::vector<std::byte>& out, T value) {
  out.resize(out.size() + sizeof(T));
  nbd::StoreBig(out.data() + out.size() - sizeof(T), value);
}

}  // namespace

std::vector<std::byte> EncodeRequest(const nbd::Request& request) {
  std::vector<std::byte> out;
  Append(out, request.magic);
  Append(out, request.flags);
  Append(out, request.command);
  Append(out, request.cookie);
  Append(out, request.offset_bytes);
  Append(out, request.length_bytes);
  return out;
}

std::vector<std::byte> EncodeOption(uint32_t option, std::span<const std::byte> data) {
  std::vector<std::byte> out;
  Append(out, nbd::kOptionMagic);
  Append(out, option);
  Append(out, static_cast<uint32_t>(data.size()));
  out.insert(out.end(), data.begin(), data.end());
  return out;
}

std::vector<std::byte> EncodeInfoQuery(const std::string& export_name,
                                       std::span<const uint16_t> infos) {
  std::vector<std::byte> out;
  Append(out, static_cast<uint32_t>(export_name.size()));
  const auto name = std::as_bytes(std::span(export_name));
  out.insert(out.end(), name.begin(), name.end());
  Append(out, static_cast<uint16_t>(infos.size()));
  for (const uint16_t info : infos) Append(out, info);
  return out;
}

NbdClient::NbdClient(const std::string& socket_path)
    : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  WEIR_CHECK(socket_path.size() < sizeof(address.sun_path));
  std::memcpy(address.sun_path, socket_path.data(), socket_path.size());
  WEIR_CHECK(
      ::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
}

bool NbdClient::Negotiate(const std::string& export_name) {
  if (!ReceiveBytes(nbd::kGreetingBytes)) return false;
  std::vector<std::byte> hello;
  Append<uint32_t>(hello, nbd::kHandshakeFixedNewstyle | nbd::kHandshakeNoZeroes);
  if (!SendBytes(hello)) return false;
  if (!SendBytes(
          EncodeOption(static_cast<uint32_t>(nbd::Option::kGo), EncodeInfoQuery(export_name)))) {
    return false;
  }
  for (;;) {
    const auto header = ReceiveBytes(nbd::kOptionReplyHeaderBytes);
    if (!header) return false;
    const auto type = static_cast<nbd::OptionReply>(nbd::LoadBig<uint32_t>(header->data() + 12));
    const auto body = ReceiveBytes(nbd::LoadBig<uint32_t>(header->data() + 16));
    if (!body) return false;
    if (type == nbd::OptionReply::kAck) return true;
    if (type != nbd::OptionReply::kInfo) return false;
    if (nbd::LoadBig<uint16_t>(body->data()) != nbd::kInfoExport) continue;
    size_bytes_ = nbd::LoadBig<uint64_t>(body->data() + 2);
    flags_ = nbd::LoadBig<uint16_t>(body->data() + 10);
  }
}

bool NbdClient::SendBytes(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(sent));
  }
  return true;
}

bool NbdClient::SendRequest(const nbd::Request& request, std::span<const std::byte> payload) {
  return SendBytes(EncodeRequest(request)) && SendBytes(payload);
}

std::optional<std::vector<std::byte>> NbdClient::ReceiveBytes(size_t count) {
  std::vector<std::byte> bytes(count);
  size_t done = 0;
  while (done < count) {
    const ssize_t step = ::recv(socket_.get(), bytes.data() + done, count - done, 0);
    if (step <= 0) return std::nullopt;
    done += static_cast<size_t>(step);
  }
  return bytes;
}

std::optional<NbdClient::Reply> NbdClient::ReceiveReply() {
  const auto bytes = ReceiveBytes(nbd::kSimpleReplyBytes);
  if (!bytes || nbd::LoadBig<uint32_t>(bytes->data()) != nbd::kSimpleReplyMagic) {
    return std::nullopt;
  }
  return Reply{nbd::LoadBig<uint64_t>(bytes->data() + 8),
               nbd::LoadBig<uint32_t>(bytes->data() + 4)};
}

bool NbdClient::ReceivesEnd() {
  std::byte unexpected{};
  return ::recv(socket_.get(), &unexpected, 1, 0) <= 0;
}

std::optional<uint32_t> NbdClient::Write(uint64_t offset_bytes, std::span<const std::byte> data,
                                         uint16_t flags) {
  const uint64_t cookie = next_cookie_++;
  if (!SendRequest({nbd::kRequestMagic, flags, static_cast<uint16_t>(nbd::Command::kWrite), cookie,
                    offset_bytes, static_cast<uint32_t>(data.size())},
                   data)) {
    return std::nullopt;
  }
  const auto reply = ReceiveReply();
  if (!reply || reply->cookie != cookie) return std::nullopt;
  return reply->error;
}

std::optional<uint32_t> NbdClient::Read(uint64_t offset_bytes, std::span<std::byte> data) {
  const auto error = Simple(nbd::Command::kRead, offset_bytes, static_cast<uint32_t>(data.size()));
  if (!error || *error != 0) return error;
  const auto bytes = ReceiveBytes(data.size());
  if (!bytes) return std::nullopt;
  std::memcpy(data.data(), bytes->data(), data.size());
  return 0;
}

std::optional<uint32_t> NbdClient::Simple(nbd::Command command, uint64_t offset_bytes,
                                          uint32_t length_bytes, uint16_t flags) {
  const uint64_t cookie = next_cookie_++;
  if (!SendRequest({nbd::kRequestMagic, flags, static_cast<uint16_t>(command), cookie, offset_bytes,
                    length_bytes})) {
    return std::nullopt;
  }
  const auto reply = ReceiveReply();
  if (!reply || reply->cookie != cookie) return std::nullopt;
  return reply->error;
}

void NbdClient::Disconnect() {
  SendRequest({nbd::kRequestMagic, 0, static_cast<uint16_t>(nbd::Command::kDisconnect), 0, 0, 0});
}

}  // namespace weir
