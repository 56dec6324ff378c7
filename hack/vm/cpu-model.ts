// The processor that a guest sees. Emulated, some features cost far more than they save: protection
// keys, which V8 guards its code with, empty the translation cache at each change; fifth-level page
// tables lengthen each walk; and "fast" string moves go byte by byte, 6 us for 4 KiB against
// 0.9 us, which would hide what a program does behind what it copies.
export function cpuModel(accelerator: "kvm" | "tcg"): string {
  if (accelerator === "kvm") return "host";
  return "max,pku=off,la57=off,erms=off,fsrm=off,fsrs=off,fzrm=off";
}
