// Runs a script in a guest, with the kernel of that name and the fastest accelerator that works
// here.
import { boot, type BootOptions, type GuestEnd } from "./boot.ts";
import { findKernel, type KernelName } from "./kernels.ts";
import { kvmWorks } from "./kvm.ts";

export type GuestOptions = Omit<BootOptions, "kernel" | "accelerator"> & {
  readonly kernel: KernelName;
};

/** See boot.ts for what the guest finds, and for what comes back. */
export async function runInGuest(options: GuestOptions): Promise<GuestEnd> {
  const kernel = await findKernel(options.kernel);
  return boot({ ...options, kernel, accelerator: (await kvmWorks(kernel)) ? "kvm" : "tcg" });
}
