import { describe, expect, test, beforeAll, afterAll } from "vitest";
import { realClock } from "../runtime/real-ports.ts";
import { Secret } from "../runtime/secret.ts";
import { S3Store } from "./s3-store.ts";
import { describeStoreContract } from "./store-contract.ts";
import { startVersitygw } from "../../test/support/versitygw.ts";

const server = await startVersitygw();
afterAll(() => server[Symbol.asyncDispose]());

describeStoreContract("S3, versitygw", async () => new S3Store({bucket: server.bucket, prefix: "contract", endpoint: server.endpoint, region: "us-east-1",
  credentials: {accessKeyId: server.accessKeyId, secretAccessKey: new Secret(server.secretAccessKey)}, clock: realClock}));
