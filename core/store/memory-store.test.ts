// Goal: the memory store keeps the port's promise. Method: the common contract suite.

import { FakeClock } from "../runtime/fake-clock.ts";
import { MemoryStore } from "./memory-store.ts";
import { describeStoreContract } from "./store-contract.ts";

describeStoreContract("memory", async () => new MemoryStore({ clock: new FakeClock() }));
