// A blocking NBD client for tests: speaks the protocol byte by byte, so that a test can also break
// it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/base/unique_fd.h"
#include "engine/nbd/nbd_protocol.h"

namespace weir {

class NbdClient {
 public:
  struct Reply {
    uint64_t cookie = 0;
    uint32_t error = 0;
  };

  // Connects; nothing is exchanged yet.
  explicit NbdClient(const std::string& socket_path);

  // Greeting, client flags and NBD_OPT_GO. False when the server refused or closed.
  bool Negotiate(const std::string& export_name = "");
  [[nodiscard]] uint64_t size_bytes() const noexcept { return size_bytes_; }
  [[nodiscard]] uint16_t flags() const noexcept { return flags_; }

  // False: the server has closed the connection.
  bool SendBytes(std::span<const std::byte> bytes);
  bool SendRequest(const nbd::Request& request, std::span<const std::byte> payload = {});
  // Exactly that many bytes, or nothing when the connection ends before.
  std::optional<std::vector<std::byte>> ReceiveBytes(size_t count);
  // The next reply; the caller takes the data of a read with ReceiveBytes().
  std::optional<Reply> ReceiveReply();
  // True when the server closes without sending anything more.
  bool ReceivesEnd();

  // One request at a time; the error of its reply, or nothing when the connection ended.
  std::optional<uint32_t> Write(uint64_t offset_bytes, std::span<const std::byte> data,
                                uint16_t flags = 0);
  std::optional<uint32_t> Read(uint64_t offset_bytes, std::span<std::byte> data);
  std::optional<uint32_t> Simple(nbd::Command command, uint64_t offset_bytes, uint32_t length_bytes,
                                 uint16_t flags = 0);
  void Disconnect();
  void Reset() { socket_.Reset(); }

 private:
  UniqueFd socket_;
  uint64_t next_cookie_ = 1;
  uint64_t size_bytes_ = 0;
  uint16_t flags_ = 0;
};

[[nodiscard]] std::vector<std::byte> EncodeRequest(const nbd::Request& request);
[[nodiscard]] std::vector<std::byte> EncodeOption(uint32_t option, std::span<const std::byte> data);
// The body of NBD_OPT_INFO and NBD_OPT_GO.
[[nodiscard]] std::vector<std::byte> EncodeInfoQuery(const std::string& export_name,
                                                     std::span<const uint16_t> infos = {});

}  // namespace weir
