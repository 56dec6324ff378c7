// vitest set-up for every test file: a warning or error line that the test did not list fails it.
import { afterEach } from "vitest";
import { takeLogComplaints } from "./log-capture.ts";

afterEach(() => {
  const complaints = takeLogComplaints();
  if (complaints.length > 0) {
    throw new Error(complaints.join("\n"));
  }
});
