// Frees a ublk device that a server mapped and then died without having fetched from it.
//
// A driver before Linux 6.16 lets only one process map a device's descriptors, until a recovery
// begins; and it lets none begin before a server has fetched all tags since the last one. So a
// server that dies between its map and its fetches would leave a device that nobody can ever serve.
// This one fetches all tags without a map, and ends: then a recovery can begin.
//
// Thread: any that may block. The device's requests are not touched: it is QUIESCED throughout.
#pragma once

#include <cstdint>

#include "engine/base/result.h"

namespace weir {

// EBUSY: another process has the device open, and may well serve it soon. When it returns well, the
// driver lets go of this server a little later.
Result<void> ServeUblkFalsely(uint32_t device_id, uint16_t queue_depth);

}  // namespace weir
