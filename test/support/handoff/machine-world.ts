// Both machines of a handoff in a world that a test drives: messages on the way, deaths, cuts, late
// deadlines, and the window as the rules of PROTOCOL.md allow it to go. Each possible next thing is
// an item of `enabled`; whoever chooses decides the order of events.
import { WeirError } from "../../../core/runtime/errors.ts";
import type { GiveOutcome, TakeOutcome } from "../../../csi-node/engine/handoff-port.ts";
import type { Message } from "../../../csi-node/handoff/messages.ts";
import {
  isOwner as predecessorOwns,
  stepPredecessor,
  type PredecessorAction,
  type PredecessorEvent,
  type PredecessorState,
} from "../../../csi-node/handoff/predecessor-machine.ts";
import {
  isOwner as successorOwns,
  stepSuccessor,
  type SuccessorAction,
  type SuccessorEvent,
  type SuccessorState,
} from "../../../csi-node/handoff/successor-machine.ts";

interface Happening {
  readonly name: string;
  readonly run: () => void;
  /** Things that go wrong: none of them is enabled once the world has calmed down. */
  readonly fault?: boolean;
}

type Owner = "predecessor" | "successor" | "restarted";

const FIRST_GENERATION = 7;

export class MachineWorld {
  predecessor: PredecessorState = { name: "serving", generation: FIRST_GENERATION };
  successor: SuccessorState;
  readonly trace: string[] = [];
  readonly reports: string[] = [];
  /** Who created each generation: the owners' folder. */
  readonly owners = new Map<number, Owner>([[FIRST_GENERATION, "predecessor"]]);
  readonly #alive = { predecessor: true, successor: true, restarted: false };
  readonly #armed = { predecessor: false, successor: false };
  readonly #toPredecessor: Message[] = [];
  readonly #toSuccessor: Message[] = [];
  /** The end of the socket that each side has not heard of yet. */
  readonly #hangup = { predecessor: false, successor: false };
  #connected = true;
  /** Work that was begun and has not answered. */
  readonly #pending = new Set<string>();
  readonly #window = { giving: false, taking: false, handed: false };

  constructor(options: { readonly dryRun: boolean }) {
    this.successor = { name: "connected", dryRun: options.dryRun };
    this.#tellPredecessor({ kind: "connected" });
    this.#tellSuccessor({ kind: "start" });
  }

  /** Whoever may touch a device or a journal at this moment. */
  get touching(): readonly Owner[] {
    const { giving, handed } = this.#window;
    const successorCreated = this.owners.get(FIRST_GENERATION + 1) === "successor";
    const owners: Owner[] = [];
    const released = giving && handed;
    if (this.#alive.predecessor && predecessorOwns(this.predecessor) && !released) {
      owners.push("predecessor");
    }
    const took = successorOwns(this.successor) || (this.#window.taking && successorCreated);
    if (this.#alive.successor && took) owners.push("successor");
    if (this.#alive.restarted) owners.push("restarted");
    return owners;
  }

  /** Machines that are neither at home nor waited for by a deadline. */
  get withoutDeadline(): readonly string[] {
    const { predecessor, successor } = this;
    const waits: string[] = [];
    const predecessorHome = ["serving", "idle"].includes(predecessor.name);
    if (this.#alive.predecessor && !predecessorHome && !this.#armed.predecessor)
      waits.push(`predecessor ${predecessor.name}`);
    const successorHome = ["serving", "gone"].includes(successor.name);
    if (this.#alive.successor && !successorHome && !this.#armed.successor)
      waits.push(`successor ${successor.name}`);
    return waits;
  }

  get atHome(): boolean {
    const predecessor = ["serving", "idle"].includes(this.predecessor.name);
    const successor = ["serving", "gone"].includes(this.successor.name);
    return (
      (predecessor || !this.#alive.predecessor) &&
      (successor || !this.#alive.successor) &&
      this.#pending.size === 0
    );
  }

  get enabled(): readonly Happening[] {
    return [...this.#deliveries(), ...this.#answers(), ...this.#windowMoves(), ...this.#faults()];
  }

  #deliveries(): Happening[] {
    const found: Happening[] = [];
    // Also while a window runs: its answer comes from another thread and may be the later one.
    const toPredecessor = this.#toPredecessor[0];
    if (toPredecessor !== undefined) {
      found.push(
        this.#happening(`> ${toPredecessor.kind}`, () => {
          this.#toPredecessor.shift();
          this.#tellPredecessor({ kind: "message", message: toPredecessor });
        }),
      );
    }
    const toSuccessor = this.#toSuccessor[0];
    if (toSuccessor !== undefined) {
      found.push(
        this.#happening(`< ${toSuccessor.kind}`, () => {
          this.#toSuccessor.shift();
          this.#tellSuccessor({ kind: "message", message: toSuccessor });
        }),
      );
    }
    // What was sent before the end of a socket is read before it.
    if (this.#hangup.predecessor && toPredecessor === undefined) {
      found.push(
        this.#happening("> closed", () => {
          this.#hangup.predecessor = false;
          this.#tellPredecessor({ kind: "closed", peerAlive: this.#alive.successor });
        }),
      );
    }
    if (this.#hangup.successor && toSuccessor === undefined) {
      found.push(
        this.#happening("< closed", () => {
          this.#hangup.successor = false;
          this.#tellSuccessor({ kind: "closed", peerAlive: this.#alive.predecessor });
        }),
      );
    }
    return found;
  }

  /** Work of each side that ends, well or badly. */
  #answers(): Happening[] {
    const found: Happening[] = [];
    const ends: Readonly<Record<string, readonly (readonly [string, () => void, boolean])[]>> = {
      calm: [
        ["settled", () => this.#tellPredecessor({ kind: "settled" }), false],
        ["unsettled", () => this.#tellPredecessor({ kind: "unsettled", reason: "busy" }), true],
      ],
      release: [["released", () => this.#tellPredecessor({ kind: "released" }), false]],
      reclaim: [["reclaim", () => this.#reclaim(), false]],
      load: [
        ["progress", () => this.#progress(), false],
        ["loaded", () => this.#tellSuccessor({ kind: "loaded", volumes: 2 }), false],
        ["unloaded", () => this.#tellSuccessor({ kind: "unloaded", reason: "S3 down" }), true],
      ],
      adopt: [
        ["adopted", () => this.#tellSuccessor({ kind: "adopted" }), false],
        ["unadopted", () => this.#tellSuccessor({ kind: "unadopted", reason: "disk full" }), true],
      ],
    };
    for (const work of this.#pending) {
      for (const [name, end, fault] of ends[work] ?? []) {
        const run = (): void => {
          this.#pending.delete(work);
          end();
        };
        found.push({ ...this.#happening(name, run), fault });
      }
    }
    return found;
  }

  #progress(): void {
    this.#pending.add("load");
    this.#tellSuccessor({ kind: "progress", loaded: 1, of: 2 });
  }

  /** What the engines may do with each other inside the window. */
  #windowMoves(): Happening[] {
    const { giving, taking, handed } = this.#window;
    const found: Happening[] = [];
    const next = FIRST_GENERATION + 1;
    const creator = this.owners.get(next);
    if (giving && taking && !handed && this.#connected) {
      found.push(this.#happening("handed", () => (this.#window.handed = true)));
    }
    if (taking && handed && creator === undefined) {
      found.push(this.#happening("create", () => this.owners.set(next, "successor")));
    }
    if (taking && creator === "successor") {
      found.push(
        this.#happening("taken", () => this.#endTake({ kind: "taken", volumes: [], devices: [] })),
      );
    }
    const takeEnds = taking && (creator === "predecessor" || (creator === undefined && !giving));
    if (takeEnds || (taking && creator === undefined && !this.#connected && !handed)) {
      found.push(
        this.#happening("refused", () => this.#endTake({ kind: "refused", reason: "revived" })),
      );
    }
    const successorServes = successorOwns(this.successor);
    if (giving && creator === "successor" && (successorServes || !taking) && this.#connected) {
      found.push(this.#happening("given", () => this.#endGive({ kind: "given", devices: [] })));
    }
    if (giving) {
      // A deadline inside the engine, or the end of the socket: at any moment.
      found.push({ ...this.#happening("revive", () => this.#revive()), fault: this.#connected });
    }
    return found;
  }

  #revive(): void {
    const next = FIRST_GENERATION + 1;
    const { handed } = this.#window;
    if (!handed && this.owners.get(next) === undefined) this.owners.set(next, "predecessor");
    if (this.owners.get(next) === undefined) this.owners.set(next, "predecessor");
    const won = this.owners.get(next) === "predecessor";
    const reason = "no answer";
    if (won) this.#endGive({ kind: "kept", reason, generation: next, devices: [] });
    else this.#endGive({ kind: "lost", reason, uids: [] });
  }

  #endGive(outcome: GiveOutcome): void {
    this.#window.giving = false;
    this.#tellPredecessor({ kind: "gave", outcome });
  }

  #endTake(outcome: TakeOutcome): void {
    this.#window.taking = false;
    this.#tellSuccessor({ kind: "took", outcome });
  }

  #faults(): Happening[] {
    const found: Happening[] = [];
    if (this.#alive.predecessor && this.#armed.predecessor) {
      // Deadlines are no fault of their own: they are what ends a wait that nothing else ends.
      found.push(
        this.#happening("predecessor's deadline", () => {
          this.#armed.predecessor = false;
          this.#tellPredecessor({ kind: "deadline" });
        }),
      );
    }
    if (this.#alive.successor && this.#armed.successor) {
      found.push(
        this.#happening("successor's deadline", () => {
          this.#armed.successor = false;
          this.#tellSuccessor({ kind: "deadline" });
        }),
      );
    }
    const fault = (name: string, run: () => void): void => {
      found.push({ ...this.#happening(name, run), fault: true });
    };
    if (this.#connected) fault("cut", () => this.#hangUp());
    if (this.#alive.predecessor) {
      fault("predecessor dies", () => this.#kill("predecessor"));
      fault("predecessor stops", () => this.#tellPredecessor({ kind: "stop" }));
      fault("pressure", () => this.#tellPredecessor({ kind: "pressure", reason: "dirty" }));
      fault("> garbage", () => this.#tellPredecessor({ kind: "garbage" }));
    }
    if (this.#alive.successor) {
      fault("successor dies", () => this.#kill("successor"));
      fault("successor stops", () => this.#tellSuccessor({ kind: "stop" }));
      fault("< garbage", () => this.#tellSuccessor({ kind: "garbage" }));
    } else if (!this.#alive.restarted && this.#lastOwner() === "successor") {
      // kubelet starts the container anew; what it finds is a dead owner.
      found.push(this.#happening("successor restarted", () => this.#restart()));
    }
    return found;
  }

  /** When it is not, the next cold start recovers. */
  get isLastOwnerAlive(): boolean {
    const last = this.#lastOwner();
    return last !== undefined && this.#alive[last];
  }

  #lastOwner(): Owner | undefined {
    return this.owners.get(Math.max(...this.owners.keys()));
  }

  #restart(): void {
    this.#alive.restarted = true;
    this.owners.set(Math.max(...this.owners.keys()) + 1, "restarted");
  }

  #reclaim(): void {
    const next = FIRST_GENERATION + 2;
    if (this.owners.has(next)) {
      this.#tellPredecessor({ kind: "overtaken" });
      return;
    }
    this.#kill("successor");
    this.owners.set(next, "predecessor");
    this.#tellPredecessor({ kind: "reclaimed", generation: next });
  }

  #kill(side: "predecessor" | "successor"): void {
    if (!this.#alive[side]) return;
    this.#alive[side] = false;
    this.#armed[side] = false;
    const works = side === "predecessor" ? ["calm", "release", "reclaim"] : ["load", "adopt"];
    for (const work of works) this.#pending.delete(work);
    if (side === "predecessor") this.#window.giving = false;
    else this.#window.taking = false;
    this.#hangUp();
  }

  #hangUp(): void {
    if (!this.#connected) return;
    this.#connected = false;
    this.#hangup.predecessor = true;
    this.#hangup.successor = true;
  }

  #tellPredecessor(event: PredecessorEvent): void {
    if (!this.#alive.predecessor) return;
    const step = stepPredecessor(this.predecessor, event);
    this.predecessor = step.state;
    for (const action of step.actions) this.#doPredecessor(action);
  }

  #tellSuccessor(event: SuccessorEvent): void {
    if (!this.#alive.successor) return;
    const step = stepSuccessor(this.successor, event);
    this.successor = step.state;
    for (const action of step.actions) this.#doSuccessor(action);
  }

  #doPredecessor(action: PredecessorAction): void {
    switch (action.do) {
      case "arm":
      case "disarm":
        this.#armed.predecessor = action.do === "arm";
        return;
      case "send":
        if (this.#connected) this.#toSuccessor.push(action.message);
        return;
      case "send-orders":
        if (this.#connected) this.#toSuccessor.push({ kind: "warm", volumes: [], last: true });
        return;
      case "calm":
      case "release":
      case "reclaim":
        this.#pending.add(action.do);
        return;
      case "resume":
        this.#pending.delete("calm");
        return;
      case "give":
        this.#window.giving = true;
        return;
      case "close":
        this.#hangUp();
        this.#hangup.predecessor = false;
        return;
      case "report":
        this.reports.push(action.outcome);
        return;
      case "die":
        this.#kill("predecessor");
    }
  }

  #doSuccessor(action: SuccessorAction): void {
    switch (action.do) {
      case "arm":
      case "disarm":
        this.#armed.successor = action.do === "arm";
        return;
      case "send":
        if (this.#connected) this.#toPredecessor.push(action.message);
        return;
      case "load":
      case "adopt":
        this.#pending.add(action.do);
        return;
      case "note":
        return;
      case "discard":
        this.#pending.delete("load");
        return;
      case "take":
        this.#window.taking = true;
        return;
      case "close":
        this.#hangUp();
        this.#hangup.successor = false;
        return;
      case "die":
        this.#kill("successor");
    }
  }

  #happening(name: string, act: () => void): Happening {
    const run = (): void => {
      this.trace.push(name);
      if (this.trace.length > 10_000) throw new WeirError("internal", "the world does not end");
      act();
    };
    return { name, run };
  }
}
