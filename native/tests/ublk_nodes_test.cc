// Goal: a machine without ublk is told so, and not that something is absent. Method: every errno
// that an open of the control node ends with where the module or the privilege is missing.
#include "engine/ublk/ublk_nodes.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <string_view>

namespace weir {
namespace {

TEST(UblkNodesTest, AMissingModuleIsAMissingDeviceWhateverTheOpenSaid) {
  for (const int code : {ENODEV, ENOENT, ENXIO}) {
    const Error error = NoUblkControl(code);
    EXPECT_EQ(error.code, ENODEV) << code;
    EXPECT_NE(std::string_view(error.what).find("modprobe ublk_drv"), std::string_view::npos);
  }
}

TEST(UblkNodesTest, AMissingPrivilegeIsOneErrno) {
  for (const int code : {EACCES, EPERM}) EXPECT_EQ(NoUblkControl(code).code, EACCES) << code;
}

TEST(UblkNodesTest, AnythingElseStaysWhatItIs) { EXPECT_EQ(NoUblkControl(EMFILE).code, EMFILE); }

}  // namespace
}  // namespace weir
